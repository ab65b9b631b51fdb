"""Taking a checkpoint back: weights and callbacks before the optimizers exist, training state after."""

from collections.abc import Mapping
from os import PathLike
from typing import Any

from lt_core.checkpointing.lightning_format import OWN_KEY, STANDARD_KEYS, progress_from
from lt_core.run.fit_run import FitRun
from lt_core.run.job import Job
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.plain_values import from_plain
from lt_interfaces.rank_zero import rank_zero_warn
from lt_interfaces.states import TrainerFn


def read(job: Job, path: str | PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint file; nothing is unpickled but plain values and tensors, unless ``weights_only=False``.

    What hooks had added comes back as it was.
    """
    checkpoint = job.runtime.checkpoint_io.load_checkpoint(path, weights_only=job.weights_only)
    return {key: value if key in STANDARD_KEYS else from_plain(value) for key, value in checkpoint.items()}


def restore_modules(job: Job, checkpoint: dict[str, Any]) -> None:
    """Restore the module's weights, the datamodule and the callbacks.

    Raises:
        KeyError: when the file holds no weights.
        RuntimeError: when keys don't match and ``strict_loading`` demands it.
    """
    if "state_dict" not in checkpoint:
        message = f"The checkpoint holds no weights: the key `state_dict` isn't among {sorted(checkpoint)}."
        raise KeyError(message)
    job.module.on_load_checkpoint(checkpoint)
    strategy = job.runtime.strategy
    strategy.load_module_state(job.model, checkpoint["state_dict"], strict=job.module.strict_loading)
    _restore_datamodule(job, checkpoint)
    _restore_callbacks(job, checkpoint)


def restore_training(run: FitRun, checkpoint: Mapping[str, Any]) -> None:
    """Restore precision, progress, optimizers, schedulers and what exact resume needs.

    Raises:
        KeyError: when the file was saved with ``weights_only=True``.
        MisconfigurationException: when it comes from a later epoch than ``max_epochs``.
        ValueError: when the numbers of optimizers or schedulers differ.
    """
    job = run.job
    missing = [key for key in ("optimizer_states", "lr_schedulers") if key not in checkpoint]
    if missing:
        message = (
            f"The checkpoint can't be resumed from: it lacks {missing}, so it was saved for weights only. To start from"
            " its weights, load them with `load_from_checkpoint` and fit without `ckpt_path`."
        )
        raise KeyError(message)
    precision = job.runtime.precision
    if precision.checkpoint_key is not None and precision.checkpoint_key in checkpoint:
        precision.load_state_dict(checkpoint[precision.checkpoint_key])
    vars(run.progress).update(vars(progress_from(checkpoint, len(run.optimization.optimizers))))
    _check_epochs(run)
    _restore_optimizers(run, checkpoint)
    run.optimization.load_scheduler_states(checkpoint["lr_schedulers"])
    own = checkpoint.get(OWN_KEY)
    if own is not None:
        run.data.load_state_dict(from_plain(own["data"]), own["rng"][0])
        run.optimization.load_window_state(job.model, own["window"])
        run.results.load_state_dict(own["results"])
        job.board.callback.update(own["callback_metrics"])
        run.validation.load_state_dict(own["validation"])
    else:
        run.data.load_state_dict({"position": None}, None)  # the batches that were trained on are skipped all the same


def _restore_optimizers(run: FitRun, checkpoint: Mapping[str, Any]) -> None:
    optimizers, states = run.optimization.optimizers, checkpoint["optimizer_states"]
    if len(states) != len(optimizers):
        message = (
            f"The checkpoint holds the states of {len(states)} optimizers, but `configure_optimizers` returned"
            f" {len(optimizers)}. Return the same optimizers to resume."
        )
        raise ValueError(message)
    for optimizer, state in zip(optimizers, states, strict=True):
        run.job.runtime.strategy.load_optimizer_state(run.job.model, optimizer, state)


def _check_epochs(run: FitRun) -> None:
    limit, done = run.job.limits.max_epochs, run.progress.epochs_completed
    if limit != -1 and done > limit:
        message = f"The checkpoint was saved after {done} epochs, but `max_epochs={limit}`. Set a higher `max_epochs`."
        raise MisconfigurationException(message)


def _restore_datamodule(job: Job, checkpoint: Mapping[str, Any]) -> None:
    if job.datamodule is not None:
        state = checkpoint.get(type(job.datamodule).__qualname__)
        if state is not None:
            job.datamodule.load_state_dict(state)


def _restore_callbacks(job: Job, checkpoint: dict[str, Any]) -> None:
    """Hand every callback the file and its own state; say which states found no callback."""
    job.hooks.notify("on_load_checkpoint", checkpoint)
    states = dict(checkpoint.get("callbacks") or {})
    for callback in job.callbacks:
        state = states.pop(callback.state_key, None)
        if state is not None:
            callback.load_state_dict(from_plain(state))
    if states and job.fn is TrainerFn.FITTING:
        rank_zero_warn(
            f"The checkpoint holds the states of callbacks that this Trainer doesn't have: {sorted(map(str, states))}."
            " Add them to `callbacks` to resume exactly."
        )
