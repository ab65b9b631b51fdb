"""An experiment object that exists on global rank 0 and absorbs everything elsewhere."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from lt_interfaces.rank_zero import global_rank
from lt_loggers.dummy import DummyExperiment

LoggerType = TypeVar("LoggerType")


def rank_zero_experiment(make: Callable[[LoggerType], Any]) -> Callable[[LoggerType], Any]:
    """Let a logger's ``experiment`` be made on global rank 0 only; other ranks get a `DummyExperiment`.

    Stands under ``@property`` in loggers, users' own included. The experiment's type is the tracker's own, hence `Any`.

    >>> class MyLogger:
    ...     @property
    ...     @rank_zero_experiment
    ...     def experiment(self):
    ...         return ["the tracker's own object"]
    >>> MyLogger().experiment
    ["the tracker's own object"]
    """

    @wraps(make)
    def experiment(logger: LoggerType) -> Any:
        # The rank is asked at every access: it may be known only after the logger was made.
        if global_rank() != 0:
            return DummyExperiment()
        return make(logger)

    return experiment
