"""The contract of a logger: where metrics, hyper-parameters and artifacts of a run go."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from lt_interfaces.roles import CheckpointRole


class Logger(ABC):
    """Takes the metrics and hyper-parameters of a run to one place.

    Found by name in the entry-point group ``lt.loggers`` (a factory called with ``save_dir`` and ``version``); users
    subclass it for their own. The Trainer calls it on every rank; what must be written once is guarded by
    `lt_interfaces.rank_zero.rank_zero_only`. Order: `log_hyperparams`, `log_graph` and `save` when a run starts;
    `log_metrics` at every flush; `after_save_checkpoint` after each checkpoint; `finalize` when the run ends.
    Reading `name`, `version` or a directory writes nothing and isn't collective.
    """

    @property
    @abstractmethod
    def name(self) -> str | None:
        """The experiment's name."""

    @property
    @abstractmethod
    def version(self) -> int | str | None:
        """The run's version within the experiment."""

    @abstractmethod
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record metrics (Python numbers by name) at a step. Called after a flush, never with tensors."""

    @abstractmethod
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Record hyper-parameters: a dict or a Namespace."""

    @property
    def root_dir(self) -> str | None:
        """The folder of the experiment, or ``None`` for loggers without files."""
        return None

    @property
    def log_dir(self) -> str | None:
        """The folder of this run: checkpoints and configuration go there too. ``None`` for loggers without files."""
        return None

    @property
    def save_dir(self) -> str | None:
        """The folder that all experiments of this logger share."""
        return None

    @property
    def group_separator(self) -> str:
        """What stands between a group and a name in a metric's name."""
        return "/"

    def log_graph(self, model: nn.Module, input_array: Tensor | None = None) -> None:  # noqa: B027  # a default
        """Record the module's graph; loggers that can't ignore it."""

    def save(self) -> None:  # noqa: B027  # a default
        """Write what's buffered. Called at epoch ends, when a run starts and when it ends."""

    def finalize(self, status: str) -> None:
        """End the run; ``status`` is ``"success"`` or ``"failed"``."""
        self.save()

    def after_save_checkpoint(self, checkpoint_callback: CheckpointRole) -> None:  # noqa: B027  # a default
        """Hear that a checkpoint was committed. Called on global rank 0."""
