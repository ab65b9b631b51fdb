"""Experiments of Comet: the one that a logger writes to."""

import os
import sys
from collections.abc import Mapping
from typing import Any, Final, Literal
from uuid import uuid4

from lt_interfaces.errors import MisconfigurationException

_started: Final[dict[str, Literal["in use", "over", "cut short"]]] = {}
"""Experiments that loggers started in this process, by key: still written to, or the Trainer's run is over, or another
logger's experiment took its place before that."""


class CometRun:
    """The experiment of one logger. Its key is known before it's started, and is the same in all processes.

    Args:
        key: the experiment's key; ``None`` means that of the experiment that the user's code has started, else that of
            the environment variable ``COMET_EXPERIMENT_KEY``, else a new one.
        mode: how `comet_ml.start` starts it for the first time; after that it's continued.
        arguments: further arguments of `comet_ml.start`.
        config: arguments of `comet_ml.ExperimentConfig`.
    """

    def __init__(
        self, key: str | None, mode: str | None, *, arguments: Mapping[str, Any], config: Mapping[str, Any]
    ) -> None:
        self._key = key
        self._mode = mode
        self._arguments: Final = arguments
        self._config: Final = config
        self._experiment: Any = None

    @property
    def key(self) -> str:
        """The key, fixed when first asked for; asking starts nothing."""
        if self._key is None:
            self._key = _users_key() or os.environ.get("COMET_EXPERIMENT_KEY") or uuid4().hex
        return self._key

    @property
    def is_started(self) -> bool:
        """Whether there's an experiment in this process that hasn't ended."""
        return self._experiment is not None and not self._experiment.ended

    def started(self) -> Any:
        """Return the `comet_ml.CometExperiment`, started if it isn't, or isn't any more.

        Raises:
            MisconfigurationException: another logger has started one in the meantime.
        """
        if self.is_started:
            return self._experiment
        if _started.get(self.key) == "cut short":
            message = (
                "Comet keeps one experiment at a time in a process, and another `CometLogger` has started one while "
                "this one was in use. Use one of them, or give both the same `experiment_key`."
            )
            raise MisconfigurationException(message)
        self._experiment = _running_experiment(self.key) or self._start()
        return self._experiment

    def end(self) -> None:
        """Hear that the Trainer's run is over: what waits is sent. Comet's experiment stays open."""
        if not self.is_started:
            return
        if self.key in _started:
            _started[self.key] = "over"
        self._experiment.flush()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_key": self.key, "_experiment": None}

    def _start(self) -> Any:
        # Imported here: comet_ml is an optional dependency, takes a second, and watches what's imported after it.
        import comet_ml

        running = _running_experiment()
        if running is not None and _started.get(running.get_key()) == "in use":
            _started[running.get_key()] = "cut short"
        config = comet_ml.ExperimentConfig(**self._config)
        experiment = comet_ml.start(
            experiment_key=self.key, mode=self._mode, experiment_config=config, **self._arguments
        )
        experiment.log_other("Created from", "lt")
        self._mode = None
        _started[self.key] = "in use"
        return experiment


def _users_key() -> str | None:
    experiment = _running_experiment()
    key = None if experiment is None else str(experiment.get_key())
    return None if key in _started else key


def _running_experiment(key: str | None = None) -> Any | None:
    """Return the experiment that's running in this process, if it has this key."""
    # Who hasn't imported comet_ml has no experiment.
    comet_ml = sys.modules.get("comet_ml")
    experiment = None if comet_ml is None else comet_ml.get_running_experiment()
    if experiment is None or experiment.ended or key not in (None, experiment.get_key()):
        return None
    return experiment
