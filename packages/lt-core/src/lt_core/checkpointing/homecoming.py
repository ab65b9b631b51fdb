"""What a process that was started for an entry point brings home to the one that the user's code runs in."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from lt_core.hook_plan import overrides
from lt_core.run.fit_run import EvaluationRun, FitRun


def state_to_bring_home(run: FitRun | EvaluationRun) -> dict[str, Any]:
    """Return the state that fitting or evaluating changed: weights, callbacks, datamodule, counters, metrics.

    What isn't in a ``state_dict`` stays in the processes, as it would stay out of a checkpoint.
    """
    job, board = run.job, run.job.board
    state = {
        "module": job.runtime.strategy.module_state(job.model),
        "callbacks": {callback.state_key: callback.state_dict() for callback in job.callbacks},
        "datamodule": {} if job.datamodule is None else job.datamodule.state_dict(),
        "progress": run.progress.state_dict() if isinstance(run, FitRun) else None,
        "metrics": [board.callback, board.logged, board.progress_bar],
    }
    return {key: apply_to_collection(value, Tensor, _to_cpu) for key, value in state.items()}


def come_home(run: FitRun | EvaluationRun, state: Mapping[str, Any]) -> None:
    """Take over what the processes left; a further call goes on from there."""
    job = run.job
    if overrides(job.module, "configure_model"):
        job.module.configure_model()  # where layers are made there, only the processes have them so far
    job.module.load_state_dict(state["module"])
    for callback in job.callbacks:
        own = state["callbacks"].get(callback.state_key)
        if own:
            callback.load_state_dict(own)
    if job.datamodule is not None and state["datamodule"]:
        job.datamodule.load_state_dict(state["datamodule"])
    if isinstance(run, FitRun):
        run.progress.load_state_dict(state["progress"])
    job.board.clear()
    callback, logged, progress_bar = state["metrics"]
    job.board.callback.update(callback)
    job.board.logged.update(logged)
    job.board.progress_bar.update(progress_bar)


def _to_cpu(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.device("cpu"))
