"""Evaluation: validate and test, alone or inside of fitting, and the sanity check."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from time import monotonic
from typing import Any

import torch
from torch import nn

from lt_core.hook_plan import overrides, takes_argument
from lt_core.logging.metric_objects import isolated_metrics
from lt_core.logging.publication import by_loader, flush_epoch, flush_steps, flush_steps_of_rank, send, to_loggers
from lt_core.logging.recorder import Results
from lt_core.loops.transfer import transfer_function
from lt_core.profiling import action_name, profiled
from lt_core.run.fit_run import EvaluationRun, FitRun
from lt_core.run.job import Job
from lt_interfaces.errors import SIGTERMException
from lt_interfaces.progress import EvaluationProgress
from lt_interfaces.rng import isolate_rng
from lt_interfaces.states import RunningStage, TrainerFn
from lt_interfaces.strategy import Capability

Step = Callable[..., Any]

_NAMES = {RunningStage.TESTING: "test", RunningStage.PREDICTING: "predict"}


def evaluate(run: EvaluationRun, stage: RunningStage, *, x_axis: int, epoch: int) -> list[dict[str, float]]:
    """Evaluate on all loaders and return each one's epoch metrics.

    Args:
        run: the stage's loaders and results.
        stage: sanity check, validate or test.
        x_axis: where epoch values go in the loggers.
        epoch: the current epoch, logged beside them.
    """
    job, name = run.job, hook_name(stage)
    with entered_stage(job, stage, run.results), evaluation_mode(job, name):
        run.progress.is_running = True
        job.hooks.notify(f"on_{name}_start")
        job.hooks.notify(f"on_{name}_epoch_start")
        _evaluate_batches(run, name)
        run.results.epoch_ended = True
        job.hooks.notify(f"on_{name}_epoch_end")
        outputs = _publish_epoch(run, stage, x_axis=x_axis, epoch=epoch)
        run.progress.is_running = False
        job.hooks.notify(f"on_{name}_end")
    return outputs


def validate_while_fitting(run: FitRun) -> None:
    """Validate in the middle of fitting, and leave everything else as it was."""
    job, validation = run.job, run.validation.run
    run.progress.validated_at = run.progress.batches
    run.validation.begin()
    if validation.loaders.is_stale(run.progress.epochs_completed):
        validation.loaders.load(job.runtime.strategy, run.progress.epochs_completed)
    validation.loaders.set_epoch(run.progress.epochs_processed)
    if run.optimization.window is None:
        job.hooks.notify("on_validation_model_zero_grad")
    x_axis = run.progress.batches_that_stepped - 1
    with torch.no_grad():
        evaluate(validation, RunningStage.VALIDATING, x_axis=x_axis, epoch=run.progress.epochs_completed)
    job.state.stage = RunningStage.TRAINING
    job.recorder.results = run.results
    run.validation.ended_at = monotonic()


def sanity_check(run: FitRun) -> None:
    """Try a few validation batches before training, so that a mistake there shows at once; leaves no trace."""
    job, validation = run.job, run.validation.run
    resumed, logged_batches = dict(job.board.callback), list(validation.logged_batches)
    steps = job.specs.evaluation.num_sanity_val_steps
    with isolate_rng(), isolated_metrics(job.model), torch.no_grad():
        job.state.stage = RunningStage.SANITY_CHECKING
        job.hooks.notify("on_sanity_check_start")
        if not validation.loaders.is_loaded:
            validation.loaders.load(job.runtime.strategy, run.progress.epochs_completed)
        with limited(validation, steps):
            evaluate(validation, RunningStage.SANITY_CHECKING, x_axis=0, epoch=0)
        job.hooks.notify("on_sanity_check_end")
    new_evaluation(validation)
    validation.logged_batches[:] = logged_batches
    job.board.clear()
    job.board.callback.update(resumed)
    job.state.stage = None


def hook_name(stage: RunningStage) -> str:
    """Return what the hooks of a stage are called after: "validation", "test" or "predict"."""
    return _NAMES.get(stage, "validation")


@contextmanager
def entered_stage(job: Job, stage: RunningStage, results: Results | None) -> Iterator[None]:
    """Let the trainer's stage and the recorder point to this stage."""
    job.state.stage = stage
    recorder = job.recorder
    recorder.results = results
    recorder.end_batches()
    try:
        yield
    finally:
        recorder.dataloader_idx = None
        recorder.end_batches()


@contextmanager
def evaluation_mode(job: Job, name: str) -> Iterator[None]:
    """Switch the module to evaluation, and each submodule back to the mode it had.

    Modules that override ``on_<stage>_model_eval`` or ``on_<stage>_model_train`` do it by themselves.
    """
    module = job.module
    modes = {child: child.training for child in module.modules()}
    if overrides(module, f"on_{name}_model_eval"):
        job.hooks.notify(f"on_{name}_model_eval")
    else:
        module.eval()
    try:
        yield
    finally:
        if name != "predict" and overrides(module, f"on_{name}_model_train"):
            job.hooks.notify(f"on_{name}_model_train")
        else:
            restore_modes(modes)


def restore_modes(modes: dict[nn.Module, bool]) -> None:
    """Give each submodule the mode it had, without touching its children."""
    for child, training in modes.items():
        child.training = training


def gradient_mode(job: Job) -> AbstractContextManager[Any]:
    """Return the context of an evaluation outside of fitting: inference mode where it's wanted and works."""
    is_possible = job.runtime.strategy.supports(Capability.INFERENCE_MODE)
    return torch.inference_mode() if job.specs.evaluation.inference_mode and is_possible else torch.no_grad()


@contextmanager
def limited(run: EvaluationRun, most: int | float) -> Iterator[None]:
    """Let each loader give at most so many batches."""
    loaders = run.loaders
    assert loaders.combined is not None  # loaded before
    counts, limits = loaders.counts, loaders.combined.limits or ()
    loaders.counts = [min(count, most) for count in counts]
    loaders.combined.limits = [min(limit, most) for limit in limits]
    try:
        yield
    finally:
        loaders.counts = counts
        loaders.combined.limits = limits


def bound_step(job: Job, name: str, num_loaders: int) -> Step:
    """Return the module's step, to be called with the batch and both indices, whatever it takes of them.

    Raises:
        RuntimeError: when several loaders are there and it doesn't take ``dataloader_idx``.
    """
    method = getattr(job.module, f"{name}_step")
    bound = job.runtime.strategy.bind_step(job.module, f"{name}_step")
    step = profiled(job.profiler, action_name("LightningModule", job.module, f"{name}_step"), bound)
    takes_idx = takes_argument(method, "batch_idx", 1)
    # A step with *args gets the index only when there's something to tell apart.
    takes_loader = takes_argument(method, "dataloader_idx", 2 if num_loaders > 1 else sys.maxsize)
    if num_loaders > 1 and not takes_loader:
        message = (
            f"`{type(job.module).__name__}.{name}_step` must take the argument `dataloader_idx`, as there are"
            f" {num_loaders} loaders: `def {name}_step(self, batch, batch_idx, dataloader_idx=0)`."
        )
        raise RuntimeError(message)
    num_args = 3 if takes_loader else 2 if takes_idx else 1
    recorder, context = job.recorder, job.runtime.precision.forward_context

    def run_step(*args: Any) -> Any:
        recorder.hook = f"{name}_step"
        try:
            with context():
                return step(*args[:num_args])
        finally:
            recorder.hook = None

    return run_step


def _evaluate_batches(run: EvaluationRun, name: str) -> None:
    job, progress, num_loaders = run.job, run.progress, len(run.loaders.counts)
    transfer, step = transfer_function(job, hands_over=run.loaders.rules.hands_over), bound_step(job, name, num_loaders)
    hooks, recorder, several = job.hooks, job.recorder, num_loaders > 1
    if several:
        _require_loader_idx(job, name)
    progress.start_run()
    run.logged_batches.extend([0] * (num_loaders - len(run.logged_batches)))
    for batch, batch_idx, loader_idx, is_last in run.loaders.steps():
        progress.is_last_batch = is_last
        batch = transfer(batch, loader_idx)
        recorder.dataloader_idx = loader_idx if several else None
        recorder.start_batch(batch)
        args = (batch, batch_idx, loader_idx) if several else (batch, batch_idx)
        run.results.seen.add(loader_idx)
        hooks.notify(f"on_{name}_batch_start", *args)
        outputs = step(batch, batch_idx, loader_idx)
        progress.count_batch()
        hooks.notify(f"on_{name}_batch_end", outputs, *args)
        _publish_steps(run, batch_idx, loader_idx)
        if must_end_here(job):
            raise SIGTERMException
    recorder.dataloader_idx = None
    recorder.end_batches()


def must_end_here(job: Job) -> bool:
    """Say whether the process was told to end and may do so after this batch.

    While fitting on several ranks it isn't: they end together at a step boundary.
    """
    return job.signals.received_sigterm and (job.fn is not TrainerFn.FITTING or job.runtime.strategy.world_size == 1)


def _require_loader_idx(job: Job, name: str) -> None:
    """Refuse batch hooks that couldn't be told which of several loaders a batch is from.

    Raises:
        RuntimeError: naming the hook.
    """
    for hook, position in ((f"on_{name}_batch_start", 2), (f"on_{name}_batch_end", 3)):
        owners = [(job.module, position), *((callback, position + 2) for callback in job.callbacks)]
        for owner, place in owners:
            if overrides(owner, hook) and not takes_argument(getattr(owner, hook), "dataloader_idx", place):
                message = f"`{type(owner).__name__}.{hook}` must take `dataloader_idx`, as there are several loaders."
                raise RuntimeError(message)


def _publish_steps(run: EvaluationRun, batch_idx: int, loader_idx: int) -> None:
    """Send the values logged per evaluation batch; they have an x-axis of their own for each loader.

    Of a batch that not every rank has, only those logged with ``rank_zero_only=True``; of loaders without length,
    where nobody knows that, rank 0's own.
    """
    job, ranks = run.job, run.job.runtime.strategy
    x_axis = run.logged_batches[loader_idx]
    run.logged_batches[loader_idx] += 1
    if job.state.stage is RunningStage.SANITY_CHECKING or not run.results.logs_steps:
        return
    everywhere = run.loaders.everywhere[loader_idx] if ranks.world_size > 1 else sys.maxsize
    if batch_idx < (everywhere or 0):
        numbers = flush_steps(run.results, job.board, loggers=job.loggers, ranks=ranks)
    else:
        numbers = flush_steps_of_rank(run.results, job.board, own_only=everywhere is not None)
    send(job.loggers, numbers, x_axis)


def _publish_epoch(run: EvaluationRun, stage: RunningStage, *, x_axis: int, epoch: int) -> list[dict[str, float]]:
    """Flush the epoch's values to the loggers and return those of each loader."""
    job = run.job
    flushed = flush_epoch(run.results, job.board, job.runtime.strategy)
    outputs = by_loader(flushed, len(run.loaders.counts))
    if stage is RunningStage.SANITY_CHECKING:
        return outputs
    numbers = to_loggers(flushed)
    if numbers:
        numbers.setdefault("epoch", epoch)
        send(job.loggers, numbers, x_axis)
        for logger in job.loggers:
            logger.save()
    return outputs


def new_evaluation(run: EvaluationRun) -> None:
    """Forget what was evaluated before."""
    run.progress = EvaluationProgress()
    run.results.reset()
    run.logged_batches.clear()
