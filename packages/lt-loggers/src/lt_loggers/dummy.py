"""Stand-ins that take every call and do nothing: for trial runs, and for ranks that don't log."""

from collections.abc import Mapping
from typing import Any

from lt_interfaces.logger import Logger


class DummyExperiment:
    """Absorbs any method call and any indexing.

    >>> experiment = DummyExperiment()
    >>> experiment.add_histogram("weights", [1, 2, 3])
    >>> experiment["run"].add_text("note", "nobody reads this")
    """

    def __getattr__(self, name: str) -> Any:
        # Python asks for special methods (copying, pickling) this way too; it must hear that there are none.
        if name.startswith("__"):
            raise AttributeError(name)
        return _do_nothing

    def __getitem__(self, key: Any) -> "DummyExperiment":
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        pass


class DummyLogger(Logger):
    """A logger that keeps nothing; the Trainer puts it in place of yours in quick trials (``fast_dev_run``).

    Methods of other loggers may be called on it too; they are absorbed.

    >>> logger = DummyLogger()
    >>> logger.log_metrics({"loss": 1.0}, step=0)
    >>> logger.watch("anything")
    """

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @property
    def experiment(self) -> DummyExperiment:
        """What absorbs calls meant for a tracker."""
        return DummyExperiment()

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        pass

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _do_nothing

    def __getitem__(self, index: Any) -> "DummyLogger":
        return self


def _do_nothing(*args: Any, **kwargs: Any) -> None:
    pass
