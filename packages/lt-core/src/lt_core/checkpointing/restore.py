"""Taking a checkpoint back: weights and callbacks before the optimizers exist, training state after."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

from torch.optim import Optimizer

from lt_core.checkpointing.lightning_format import OWN_KEY, progress_from
from lt_core.checkpointing.rank_states import SavedRanks
from lt_core.checkpointing.report import RestoreReport
from lt_core.logging.merging import load_merged_metrics
from lt_core.logging.metric_objects import keeps_state, load_metric_states, metrics_of
from lt_core.run.fit_run import FitRun
from lt_core.run.job import Job
from lt_fabric.data.shared_order import data_share
from lt_interfaces.checkpoint_io import Place, Placement, placed_in
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.plain_values import from_plain
from lt_interfaces.rank_zero import rank_zero_warn
from lt_interfaces.states import TrainerFn


def restored(job: Job, optimizers: Sequence[Optimizer] = ()) -> tuple[dict[str, Any], RestoreReport] | None:
    """Read the checkpoint that the job resumes from, if there's one, and restore all but training state from it.

    Args:
        job: of an entry point that may have got a ``ckpt_path``.
        optimizers: where the module is placed already: those made for it.
    """
    path = job.runtime.strategy.broadcast(job.resume.path)  # a folder may look different to each rank
    if path is None:
        return None
    checkpoint = read(job, path, optimizers)
    return checkpoint, restore_modules(job, checkpoint)


def read(job: Job, path: str | PathLike[str], optimizers: Sequence[Optimizer] = ()) -> dict[str, Any]:
    """Read a checkpoint file; nothing is unpickled but plain values and tensors, unless ``weights_only=False``.

    Every value comes back as it was; of sharded tensors, each rank reads its part.
    """
    checkpoint_io, strategy, weights_only = job.runtime.checkpoint_io, job.runtime.strategy, job.resume.weights_only
    if strategy.restores_after_setup:
        parts: dict[Place, Placement | None] = {("state_dict",): strategy.placement(job.model)}
        parts |= {("optimizer_states", index): strategy.placement(one) for index, one in enumerate(optimizers)}
        checkpoint = checkpoint_io.load_placed(path, placed_in(parts), weights_only=weights_only)
    else:
        checkpoint = checkpoint_io.load_checkpoint(path, weights_only=weights_only)
    return {key: from_plain(value) for key, value in checkpoint.items()}


def restore_modules(job: Job, checkpoint: dict[str, Any]) -> RestoreReport:
    """Restore the module's weights, the datamodule and the callbacks; returns what was found so far.

    Raises:
        KeyError: when the file holds no weights.
        RuntimeError: when keys don't match and ``strict_loading`` demands it.
    """
    if "state_dict" not in checkpoint:
        message = f"The checkpoint holds no weights: the key `state_dict` isn't among {sorted(checkpoint)}."
        raise KeyError(message)
    report = RestoreReport(str(job.resume.path))
    job.module.on_load_checkpoint(checkpoint)
    strategy = job.runtime.strategy
    strategy.load_module_state(job.model, checkpoint["state_dict"], strict=job.module.strict_loading)
    report.restored.append("weights")
    _restore_datamodule(job, checkpoint, report)
    _restore_callbacks(job, checkpoint, report)
    return report


def restore_training(run: FitRun, checkpoint: Mapping[str, Any], report: RestoreReport) -> None:
    """Restore precision, progress, optimizers, schedulers and what exact resume needs, and say what was restored.

    Raises:
        KeyError: when the file was saved with ``weights_only=True``.
        MisconfigurationException: when it comes from a later epoch than ``max_epochs``.
        ValueError: when there's no state for a component, unless ``strict=False``, or one for an optimizer or scheduler
            that isn't there.
    """
    job = run.job
    if job.resume.strict:
        _require_training_state(checkpoint)
    _restore_precision(job, checkpoint, report)
    vars(run.progress).update(vars(progress_from(checkpoint, len(run.optimization.optimizers))))
    _check_epochs(run)
    _restore_optimizers(run, checkpoint, report)
    _restore_schedulers(run, checkpoint, report)
    _restore_position(run, checkpoint.get(OWN_KEY) or {}, report)
    report.conclude(strict=job.resume.strict)


def _restore_position(run: FitRun, own: Mapping[str, Any], report: RestoreReport) -> None:
    """Restore where the run stood within its epoch: data, random generators, window, logged values, validation."""
    # Lightning doesn't write this, and a file from before the first batch needs none of it.
    is_ours, is_optional = "data" in own, not own or run.progress.batches == 0
    for component in ("data position", "random state", "logged values"):
        report.note(component, found=is_ours, is_optional=is_optional)
    if not is_ours:
        # The batches that were trained on are skipped all the same.
        run.data.load_state_dict([{"position": None}], None, share=0)
        return
    for loaders in (run.data.loaders, run.validation.run.loaders):
        loaders.keep_item_seed(own.get("item_seed"))
    strategy = run.job.runtime.strategy
    share = data_share(strategy)
    ranks = SavedRanks(own, rank=strategy.global_rank, world_size=strategy.world_size, share=share)
    run.data.load_state_dict(ranks.all("data"), ranks.rng, share=share.index)
    run.optimization.load_window_state(run.job.model, ranks.window)
    _restore_metrics(run, ranks, report)
    run.job.board.callback.update(ranks.own["callback_metrics"])
    run.validation.load_state_dict(ranks.validation)
    run.job.hooks.interrupted = own["saved_in"]


def _restore_metrics(run: FitRun, ranks: SavedRanks, report: RestoreReport) -> None:
    """Restore what was logged in this epoch, and the metric objects that hold a part of it."""
    metrics, results = metrics_of(run.job.model), ranks.results
    run.results.load_state_dict(results, metrics)
    if "metrics" in ranks.own:
        left = _load_metrics(metrics, ranks, report.path)
        report.unexpected.extend(f"metric {path}" for path in left)
    logged = {entry.get("metric") for entry in results["slots"]}
    forgetful = [path for path in logged if path in metrics and not keeps_state(metrics[path])]
    if forgetful:
        rank_zero_warn(
            f"The metrics {sorted(forgetful)} were logged in the epoch that the checkpoint was saved in, but have no"
            " `state_dict` and `load_state_dict`: what they held is lost, and this epoch's values lack it. Add both"
            " methods to resume exactly."
        )


def _load_metrics(metrics: Mapping[str, Any], ranks: SavedRanks, path: str) -> list[str]:
    """Load what metric objects held; returns the paths of states that nothing takes."""
    if ranks.is_same_number:
        return load_metric_states(metrics, ranks.own["metrics"])
    left, split = load_merged_metrics(metrics, ranks.all_metrics(), rank=ranks.share)
    if split and ranks.are_fewer:
        rank_zero_warn(
            f"The metrics {sorted(split)} can't be merged over ranks, and there are fewer ranks than when `{path}` was"
            " saved: what they held elsewhere is lost, and this epoch's values lack it. Resume with as many processes,"
            " from the end of an epoch, or implement torchmetrics' `merge_state`."
        )
    return left


def _require_training_state(checkpoint: Mapping[str, Any]) -> None:
    missing = [key for key in ("optimizer_states", "lr_schedulers") if key not in checkpoint]
    if missing:
        message = (
            f"The checkpoint can't be resumed from: it lacks {missing}, so it was saved for weights only. To start from"
            " its weights, load them with `load_from_checkpoint` and fit without `ckpt_path`; to go on counting epochs"
            " and steps, with new optimizers, pass `strict=False`."
        )
        raise KeyError(message)


def _restore_precision(job: Job, checkpoint: Mapping[str, Any], report: RestoreReport) -> None:
    precision = job.runtime.precision
    key = precision.checkpoint_key
    if key is not None and (key in checkpoint or precision.state_dict()):
        report.note(f"precision {key}", found=key in checkpoint)
        if key in checkpoint:
            precision.load_state_dict(checkpoint[key])


def _restore_optimizers(run: FitRun, checkpoint: Mapping[str, Any], report: RestoreReport) -> None:
    optimizers, states = run.optimization.optimizers, checkpoint.get("optimizer_states", ())
    _refuse_surplus("optimizers", saved=len(states), made=len(optimizers), strict=run.job.resume.strict)
    for index, optimizer in enumerate(optimizers):
        found = index < len(states)
        report.note(f"optimizer {index} ({type(optimizer).__name__})", found=found)
        if found:
            run.job.runtime.strategy.load_optimizer_state(run.job.model, optimizer, states[index])


def _restore_schedulers(run: FitRun, checkpoint: Mapping[str, Any], report: RestoreReport) -> None:
    schedulers, states = run.optimization.schedulers, checkpoint.get("lr_schedulers", ())
    _refuse_surplus("learning-rate schedulers", saved=len(states), made=len(schedulers), strict=run.job.resume.strict)
    for index, config in enumerate(schedulers):
        found = index < len(states)
        report.note(f"scheduler {index} ({type(config.scheduler).__name__})", found=found)
        if found:
            config.scheduler.load_state_dict(states[index])


def _refuse_surplus(what: str, *, saved: int, made: int, strict: bool) -> None:
    if saved > made and strict:
        message = (
            f"The checkpoint holds the states of {saved} {what}, but `configure_optimizers` returned {made}. Return the"
            " same to resume, or pass `strict=False` to `fit` to leave the others out."
        )
        raise ValueError(message)


def _check_epochs(run: FitRun) -> None:
    limit, done = run.job.limits.max_epochs, run.progress.epochs_completed
    if limit != -1 and done > limit:
        message = f"The checkpoint was saved after {done} epochs, but `max_epochs={limit}`. Set a higher `max_epochs`."
        raise MisconfigurationException(message)


def _restore_datamodule(job: Job, checkpoint: Mapping[str, Any], report: RestoreReport) -> None:
    if job.datamodule is None:
        return
    name = type(job.datamodule).__qualname__
    state = checkpoint.get(name)
    if state is not None:
        job.datamodule.load_state_dict(state)
    if state is not None or _is_missed(job, checkpoint, key=name, owner=job.datamodule):
        report.note(f"datamodule {name}", found=state is not None)


def _restore_callbacks(job: Job, checkpoint: dict[str, Any], report: RestoreReport) -> None:
    """Hand every callback the file and its own state."""
    job.hooks.notify("on_load_checkpoint", checkpoint)
    states = dict(checkpoint.get("callbacks") or {})
    for callback in job.callbacks:
        key = callback.state_key
        state = states.pop(key, None)
        if state is not None:
            callback.load_state_dict(state)
        if state is not None or _is_missed(job, checkpoint, key=key, owner=callback):
            # Lightning resumes without a word, and the Trainer's own defaults aren't what the user resumes with.
            is_optional = OWN_KEY not in checkpoint or not _was_given(job, callback)
            report.note(f"callback {key}", found=state is not None, is_optional=is_optional)
    report.unexpected.extend(f"callback {key}" for key in states)


def _is_missed(job: Job, checkpoint: Mapping[str, Any], *, key: str, owner: Any) -> bool:
    """Say whether an owner of state that the file knows nothing of has one, and had one when the file was saved."""
    had_none = (checkpoint.get(OWN_KEY) or {}).get("without_state", ())
    return job.fn is TrainerFn.FITTING and key not in had_none and bool(owner.state_dict())


def _was_given(job: Job, callback: Any) -> bool:
    return any(callback is given for given in job.specs.callbacks)
