"""How a learning-rate scheduler is stepped: the dict that ``configure_optimizers`` returns, as a checked type."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau

from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.rank_zero import rank_zero_warn
from lt_interfaces.spelling import did_you_mean

_NEEDS_AUTOMATIC_OPTIMIZATION = ("reduce_on_plateau", "monitor", "strict")


@dataclass
class LRSchedulerConfig:
    """A scheduler and when it is stepped.

    The scheduler moves at every ``frequency``-th epoch or optimizer step. One that watches a metric
    (``reduce_on_plateau``, set by itself for torch's ``ReduceLROnPlateau``) receives ``monitor``'s value; where that
    value is missing, ``strict`` makes it an error rather than a warning.

    Raises:
        MisconfigurationException: ``interval`` or ``frequency`` isn't one of those accepted.
        TypeError: the scheduler has no ``state_dict`` and ``load_state_dict``.

    >>> from torch import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    >>> LRSchedulerConfig(optim.lr_scheduler.StepLR(optimizer, step_size=3), interval="step").frequency
    1
    """

    scheduler: Any  # the user's scheduler: torch's or any object with the two state methods
    name: str | None = None
    interval: Literal["epoch", "step"] = "epoch"
    frequency: int = 1
    reduce_on_plateau: bool = False
    monitor: str | None = None
    strict: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.reduce_on_plateau = True
        _check_stateful(self.scheduler)
        if self.interval not in ("epoch", "step"):
            message = (
                f'`interval` of a learning-rate scheduler must be "epoch" or "step", not {self.interval!r}.'
                f"{did_you_mean(str(self.interval), ('epoch', 'step'))}"
            )
            raise MisconfigurationException(message)
        if not isinstance(self.frequency, int) or self.frequency < 1:
            message = f"`frequency` of a learning-rate scheduler must be a whole number >= 1, not {self.frequency!r}"
            raise MisconfigurationException(message)
        if self.interval == "epoch" and isinstance(self.scheduler, OneCycleLR):
            message = (
                '`OneCycleLR` is meant to be stepped every batch, but its `interval` is "epoch". '
                'Return {"scheduler": scheduler, "interval": "step"}.'
            )
            rank_zero_warn(message, category=RuntimeWarning)

    @classmethod
    def for_automatic_optimization(cls, given: Mapping[str, Any]) -> "LRSchedulerConfig":
        """Read the user's dict for a scheduler that the loop steps.

        Unknown keys are dropped with a RuntimeWarning.

        Raises:
            MisconfigurationException: no ``scheduler``, or one that watches a metric without ``monitor``.
        """
        config = cls(**_known_keys(given))
        if config.reduce_on_plateau and config.monitor is None:
            message = (
                f"`{type(config.scheduler).__name__}` watches a metric: name it in `configure_optimizers`, "
                'for instance {"scheduler": scheduler, "monitor": "val_loss"}.'
            )
            raise MisconfigurationException(message)
        return config

    @classmethod
    def for_manual_optimization(cls, given: Mapping[str, Any]) -> "LRSchedulerConfig":
        """Read the user's dict for a scheduler that the user's ``training_step`` steps.

        The keys that only the loop would act on (``reduce_on_plateau``, ``monitor``, ``strict``) are dropped with a
        RuntimeWarning, as are unknown ones.
        """
        idle = [key for key in _NEEDS_AUTOMATIC_OPTIMIZATION if key in given]
        if idle:
            names = ", ".join(f"`{key}`" for key in idle)
            message = f"With manual optimization you step the schedulers yourself: {names} of the scheduler do nothing."
            rank_zero_warn(message, category=RuntimeWarning)
        return cls(**_known_keys({key: value for key, value in given.items() if key not in idle}))


def _check_stateful(scheduler: object) -> None:
    if all(callable(getattr(scheduler, method, None)) for method in ("state_dict", "load_state_dict")):
        return
    message = (
        f"A learning-rate scheduler needs `state_dict` and `load_state_dict` to be saved and resumed, "
        f"but {type(scheduler).__name__} lacks one of them."
    )
    raise TypeError(message)


def _known_keys(given: Mapping[str, Any]) -> dict[str, Any]:
    if "scheduler" not in given:
        message = f'The `lr_scheduler` dict needs the key "scheduler"; it has {sorted(given)}'
        raise MisconfigurationException(message)
    known = [field.name for field in fields(LRSchedulerConfig)]
    for key in given:
        if key not in known:
            message = f"`{key}` of the `lr_scheduler` dict is unknown and does nothing.{did_you_mean(str(key), known)}"
            rank_zero_warn(message, category=RuntimeWarning)
    return {key: given[key] for key in known if key in given}
