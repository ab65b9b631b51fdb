"""The base of progress bars."""

import sys
from collections.abc import Mapping
from typing import Any, ClassVar

from lt_callbacks.run import Run
from lt_interfaces.callback import Callback
from lt_interfaces.rank_zero import rank_zero_warn
from lt_interfaces.roles import Role


class ProgressBar(Callback):
    """Base of progress bars: subclass it and override the hooks that tell you of batches.

    The Trainer has at most one, enabled on rank 0 alone.

    Example::

        class DotPerBatch(ProgressBar):
            def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
                if self.is_enabled:
                    print(".", end="")
    """

    role: ClassVar[Role | None] = Role.PROGRESS

    def __init__(self) -> None:
        self._is_enabled = True

    @property
    def is_enabled(self) -> bool:
        """Whether it shows anything."""
        return self._is_enabled

    @property
    def is_disabled(self) -> bool:
        """Whether it shows nothing."""
        return not self.is_enabled

    def enable(self) -> None:
        """Show progress on this rank."""
        self._is_enabled = True

    def disable(self) -> None:
        """Show nothing on this rank."""
        self._is_enabled = False

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bar, as the built-in ``print`` does."""
        print(*args, **{"file": sys.stdout, **kwargs})  # noqa: T201  # it's what this method is for

    def get_metrics(self, trainer: Run, pl_module: Any) -> Mapping[str, Any]:
        """Return what stands beside the counts: the logger's version as ``v_num``, and what was logged for the bar.

        Reading the metrics waits for the device. Override it to hide or add something.
        """
        standard = _version(trainer)
        logged = trainer.progress_bar_metrics
        for name in standard.keys() & logged.keys():
            rank_zero_warn(f"The metric `{name}` was logged with `prog_bar=True` and hides the bar's own value.")
        return {**standard, **logged}

    def setup(self, trainer: Run, pl_module: Any, stage: str) -> None:
        if not trainer.is_global_zero:
            self.disable()


def _version(trainer: Run) -> dict[str, int | str]:
    """Return the first logger's version, a long name cut to its end."""
    version = trainer.loggers[0].version if trainer.loggers else None
    if version is None:
        return {}
    return {"v_num": version[-4:] if isinstance(version, str) else version}
