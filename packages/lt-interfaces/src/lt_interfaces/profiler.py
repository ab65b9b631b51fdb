"""The contract of a profiler: named spans of a run."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager


class Profiler(ABC):
    """Measures named spans: hooks, steps, loading, saving.

    Found by name in the entry-point group ``lt.profilers``. A run without a profiler pays nothing: the loop's calls
    are wrapped only when there is one. Span names: ``[LightningModule]<Class>.<hook>``,
    ``[LightningDataModule]<Class>.<hook>``, ``[Callback]<state_key>.<hook>``, ``run_training_epoch``,
    ``save_checkpoint``.
    """

    @abstractmethod
    def setup(self, stage: str, local_rank: int | None, log_dir: str | None) -> None:
        """Prepare for one entry point; ``local_rank`` is ``None`` in a job of one process."""

    @abstractmethod
    def start(self, action_name: str) -> None:
        """Begin a span."""

    @abstractmethod
    def stop(self, action_name: str) -> None:
        """End a span."""

    @abstractmethod
    def profile(self, action_name: str) -> AbstractContextManager[str]:
        """Return a context that is one span; ended also when the body raises."""

    @abstractmethod
    def summary(self) -> str:
        """Return the report so far."""

    @abstractmethod
    def describe(self) -> None:
        """Print the report or write it to its file; called at the end of each entry point."""

    @abstractmethod
    def teardown(self, stage: str | None) -> None:
        """Close files and restore what was patched."""
