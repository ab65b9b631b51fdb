"""Runs of Weights & Biases: the one that a logger writes to, among those that are active in this process."""

import os
import secrets
import string
import sys
from collections.abc import Mapping
from multiprocessing import parent_process
from pathlib import Path
from typing import Any, Final, Literal

from lt_interfaces.rank_zero import rank_zero_info

STEP_METRIC: Final = "trainer/global_step"
"""The x-axis of everything that's logged with a step."""

_started: Final[dict[str, Literal["in use", "over", "finished"]]] = {}
"""Runs that loggers started in this process, by id: still written to, or the Trainer's run is over, or it made room."""


class WandbRun:
    """The run of one logger. Its id is known before it's started, and is the same in all processes.

    Args:
        run: a run that exists already.
        run_id: the id; ``None`` means that of the run that the user's code has started, else that of the environment
            variable ``WANDB_RUN_ID``, else a new one.
        arguments: further arguments of `wandb.init`.
    """

    def __init__(self, run: Any, *, run_id: str | None, arguments: Mapping[str, Any]) -> None:
        self._run = run
        self._id = run_id if run is None else str(run.id)
        self._arguments: Final = arguments
        self._is_of_another_process = False

    @property
    def id(self) -> str:
        """The id, fixed when first asked for; asking starts nothing."""
        if self._id is None:
            self._id = _users_run_id() or os.environ.get("WANDB_RUN_ID") or _new_id()
        return self._id

    def started(self) -> Any:
        """Return the `wandb.Run`, started if it isn't yet."""
        state = _started.get(self.id)
        if self._run is None or state == "finished":
            self._run = self._start()
            self._run.define_metric(STEP_METRIC)
            self._run.define_metric("*", step_metric=STEP_METRIC, step_sync=True)
        elif state == "over":
            _started[self.id] = "in use"
        return self._run

    def end(self, status: str) -> None:
        """Hear that the Trainer's run is over.

        wandb's own run stays open, but for one that was started in a process that a strategy has spawned: that process
        ends now, without telling wandb.
        """
        if self._run is None:
            return
        if parent_process() is not None and not self._is_of_another_process:
            self._run.finish(exit_code=0 if status == "success" else 1)
            self._run = None
        elif self.id in _started:
            _started[self.id] = "over"

    def __getstate__(self) -> dict[str, Any]:
        # A run belongs to its process; another one reaches it through wandb's service, or starts it under this id.
        is_of_another = self._run is not None or self._is_of_another_process
        return {**self.__dict__, "_id": self.id, "_run": None, "_is_of_another_process": is_of_another}

    def _start(self) -> Any:
        if self._is_of_another_process:
            run = _attached(self.id)
            if run is not None:
                return run
            self._is_of_another_process = False
        active = _active_run()
        if active is not None and active.id == self.id:
            rank_zero_info("`WandbLogger` continues the wandb run %s, which was started before.", self.id)
            return active
        Path(self._arguments["dir"]).mkdir(parents=True, exist_ok=True)
        return _init(self.id, {**_place_beside(active), **self._arguments})


def _init(run_id: str, arguments: Mapping[str, Any]) -> Any:
    # Imported here: wandb is an optional dependency and takes half a second.
    import wandb

    run = wandb.init(id=run_id, **arguments)
    _started[run_id] = "in use"
    return run


def _attached(run_id: str) -> Any | None:
    """Return the run that another process of this program has started, ``None`` if it isn't there any more."""
    import wandb  # see `_init`

    active = _active_run()
    if active is not None and active.id == run_id:
        return active
    try:
        return wandb.attach(run_id)
    except wandb.errors.UsageError:
        return None


def _place_beside(active: Any | None) -> dict[str, Any]:
    """Return how to start a run while another one is active, which must not be written to.

    If that one belongs to a logger whose Trainer's run is over, it's finished, so that `wandb.log` in the user's code
    reaches the new one; else both stay, and `wandb.log` reaches the earlier one.
    """
    if active is None:
        return {}
    if _started.get(active.id) != "over":
        return {"reinit": "create_new"}
    _started[active.id] = "finished"
    return {"reinit": "finish_previous"}


def _users_run_id() -> str | None:
    run = _active_run()
    return None if run is None or run.id in _started else str(run.id)


def _active_run() -> Any | None:
    # Who hasn't imported wandb has no run.
    return getattr(sys.modules.get("wandb"), "run", None)


def _new_id() -> str:
    """Return an id in wandb's form; random numbers that the user has seeded aren't touched."""
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(8))
