"""What a checkpoint holds: the state of everything that a resumed run needs."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch

from lt_core.checkpointing.lightning_format import OWN_FORMAT, OWN_KEY, VERSION_KEY, WRITTEN_AS, loops_from
from lt_core.checkpointing.rank_states import of_all_ranks
from lt_core.hook_plan import overrides
from lt_core.logging.metric_objects import metric_states, metrics_of
from lt_core.run.fit_run import FitRun
from lt_core.run.job import Job
from lt_interfaces.plain_values import to_plain, to_stored
from lt_interfaces.progress import FitProgress
from lt_interfaces.rng import capture_rng_state


def checkpoint_of(job: Job, run: FitRun | None, *, weights_only: bool) -> dict[str, Any]:
    """Return the checkpoint of a run as one dict. Collective, as sharded strategies gather their state.

    Args:
        job: the current entry point.
        run: the fit, or ``None`` when nothing was fitted.
        weights_only: leave out what only training needs.
    """
    strategy = job.runtime.strategy
    progress = run.progress if run is not None else FitProgress()
    checkpoint: dict[str, Any] = {
        "epoch": progress.epochs_completed,
        "global_step": progress.global_step,
        VERSION_KEY: WRITTEN_AS,
        "state_dict": strategy.module_state(job.model),
        "loops": loops_from(progress),
    }
    if not weights_only:
        checkpoint["callbacks"] = _callback_states(job)
        checkpoint |= _training_state(job, run)
    checkpoint |= _hyperparameters(job.module, "")
    if job.datamodule is not None:
        checkpoint |= _hyperparameters(job.datamodule, "datamodule_")
        state = job.datamodule.state_dict()
        if state:
            checkpoint[type(job.datamodule).__qualname__] = state
    if not weights_only:
        checkpoint[OWN_KEY] = {**_own_state(job, run), "without_state": _without_state(job, checkpoint)}
        job.hooks.notify("on_save_checkpoint", checkpoint)
    else:
        _let_weights_be_replaced(job, checkpoint)
        job.module.on_save_checkpoint(checkpoint)  # callbacks add to what training resumes from, and there's none
    # States and what hooks added must load without pickle, too; it raises here, while the previous checkpoint is whole.
    return {key: (to_plain if key == OWN_KEY else to_stored)(value, key) for key, value in checkpoint.items()}


def _let_weights_be_replaced(job: Job, checkpoint: dict[str, Any]) -> None:
    """Let callbacks that have better weights than the module's own, such as their average, put these in their place."""
    for callback in job.callbacks:
        if hasattr(callback, "weights_to_save"):
            checkpoint["state_dict"] = callback.weights_to_save(job.model, checkpoint["state_dict"])


def _callback_states(job: Job) -> dict[str, Any]:
    """Return the state of every callback that has one, by its key."""
    states = {callback.state_key: callback.state_dict() for callback in job.callbacks}
    return {key: state for key, state in states.items() if state}


def _without_state(job: Job, checkpoint: Mapping[str, Any]) -> list[str]:
    """Return the callbacks, and the datamodule, that had no state: whoever resumes needn't miss it."""
    keys = [callback.state_key for callback in job.callbacks]
    none = [key for key in keys if key not in checkpoint["callbacks"]]
    name = type(job.datamodule).__qualname__
    return none if job.datamodule is None or name in checkpoint else [*none, name]


def _training_state(job: Job, run: FitRun | None) -> dict[str, Any]:
    strategy, precision = job.runtime.strategy, job.runtime.precision
    optimizers = run.optimization.optimizers if run is not None else []
    state: dict[str, Any] = {
        "optimizer_states": [strategy.optimizer_state(job.model, optimizer) for optimizer in optimizers],
        "lr_schedulers": run.optimization.scheduler_states() if run is not None else [],
    }
    scaling = precision.state_dict()
    if precision.checkpoint_key is not None and scaling:
        state[precision.checkpoint_key] = scaling
    return state


def _hyperparameters(owner: Any, prefix: str) -> dict[str, Any]:
    """Return the hyper-parameters of the module or datamodule under Lightning's keys."""
    hparams = getattr(owner, "hparams", None)
    if not hparams:
        return {}
    keys: dict[str, Any] = {}
    if hasattr(owner, "_hparams_name"):
        keys[f"{prefix}hparams_name"] = owner._hparams_name
    keys[f"{prefix}hyper_parameters"] = dict(hparams) if isinstance(hparams, Mapping) else hparams
    return keys


def _own_state(job: Job, run: FitRun | None) -> dict[str, Any]:
    """Return what exact resume needs beyond Lightning's keys; collective."""
    state: dict[str, Any] = {
        "format": OWN_FORMAT,
        "versions": {"lt-core": version("lt-core"), "torch": str(torch.__version__)},
        "rng": capture_rng_state(),
        "saved_in": list(job.hooks.moment),
    }
    if run is not None:
        metrics = metrics_of(job.model)
        state |= {
            "progress": run.progress.state_dict(),
            "item_seed": run.data.loaders.item_seed,
            "data": run.data.state_dict(run.progress.batches_in_epoch),
            "window": run.optimization.window_state(job.model, keeps_gradients=_keeps_gradients(job.module)),
            "results": run.results.state_dict(metrics),
            "metrics": metric_states(metrics),
            "callback_metrics": {name: value.detach() for name, value in job.board.callback.items()},
            "validation": run.validation.state_dict(),
        }
    return of_all_ranks(job.runtime.strategy, state)


def _keeps_gradients(module: Any) -> bool:
    """Say whether gradients outlive an accumulation window: the module steps, or clears them, by itself."""
    return not module.automatic_optimization or overrides(module, "optimizer_zero_grad")
