"""File names of checkpoints, made from a template and metrics."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from torch import Tensor

from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.spelling import did_you_mean

_GROUP: Final = re.compile(r"\{([^{}:]*)(:[^{}]*)?\}")
_COUNTERS: Final = ("epoch", "step")


@dataclass(frozen=True)
class NameTemplate:
    """A template such as ``"{epoch}-{val_loss:.2f}"``; each group is a metric's name with an optional format.

    >>> NameTemplate("{epoch}-{val/loss:.2f}").fill({"epoch": 3, "val/loss": 0.126})
    'epoch=3-val_loss=0.13'
    >>> NameTemplate("{epoch:02d}", insert_names=False).fill({"epoch": 3})
    '03'
    """

    text: str
    insert_names: bool = True
    """Write ``name=value`` rather than the value alone."""
    equals: str = "="

    @property
    def metric_names(self) -> list[str]:
        """The metrics it needs, in the order they first occur.

        >>> NameTemplate("{step}-{loss:.3f}-{step}").metric_names
        ['step', 'loss']
        """
        return list(dict.fromkeys(name for name, _ in _GROUP.findall(self.text)))

    def fill(self, metrics: Mapping[str, Tensor | float]) -> str:
        """Return the template with every group replaced.

        A ``/`` in a metric's name becomes ``_``: one metric never makes a folder.

        Raises:
            MisconfigurationException: when a metric isn't there, or its format doesn't fit the value.
        """
        return _GROUP.sub(lambda group: self._fill_group(group[1], group[2] or "", metrics), self.text)

    def _fill_group(self, name: str, spec: str, metrics: Mapping[str, Tensor | float]) -> str:
        if name not in metrics:
            message = (
                f"The checkpoint's `filename={self.text!r}` names the metric `{name}`, which hasn't been logged."
                f"{did_you_mean(name, metrics)} Available: {sorted(metrics)}. "
                "Log it with `self.log` before the checkpoint is due, or leave it out of `filename`."
            )
            raise MisconfigurationException(message)
        value = _plain(name, metrics[name])
        try:
            written = format(value, spec[1:])
        except ValueError as error:
            message = (
                f"`filename={self.text!r}` of a checkpoint can't write `{name}`={value!r} as {spec[1:]!r}: {error}"
            )
            raise MisconfigurationException(message) from error
        return f"{name.replace('/', '_')}{self.equals}{written}" if self.insert_names else written


def _plain(name: str, value: Tensor | float) -> float:
    number = value.item() if isinstance(value, Tensor) else value
    return int(number) if name in _COUNTERS else number
