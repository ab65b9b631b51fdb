"""Training: epochs of batches, with validation where it's due."""

from time import monotonic
from typing import Final

from lt_core.logging.publication import (
    flush_epoch,
    flush_steps,
    flush_steps_of_rank,
    has_shared_steps,
    send,
    to_loggers,
)
from lt_core.logging.values import Number
from lt_core.loops.boundaries import agree_at_boundary, agree_now, honour, may_stop, write_requested
from lt_core.loops.evaluation import validate_while_fitting
from lt_core.loops.schedulers import step_schedulers
from lt_core.loops.stepping import detached_outputs
from lt_core.loops.transfer import transfer_function
from lt_core.run.fit_run import FitRun, Transfer
from lt_interfaces.rank_zero import rank_zero_warn
from lt_interfaces.states import RunningStage

SKIP_EPOCH: Final = -1
"""What a module's ``on_train_batch_start`` returns to skip the rest of the epoch."""


def fit(run: FitRun) -> None:
    """Train until a limit is reached or somebody asks to stop."""
    hooks = run.job.hooks
    run.job.state.stage = RunningStage.TRAINING
    run.job.recorder.results = run.results
    run.validation.ended_at = monotonic()
    transfer = transfer_function(run.job, hands_over=run.data.loaders.rules.hands_over)
    if run.requests.agreement is not None:
        run.requests.agreement.exchange = run.job.runtime.strategy.open_flag_exchange()
    hooks.notify("on_train_start")
    agree_now(run)
    if run.progress.epochs_processed > run.progress.epochs_completed:
        run.results.epoch_ended = True
        hooks.catch_up("on_train_epoch_end")
        _close_epoch(run)  # resumed from a checkpoint that was saved while an epoch ended
    while not is_done(run):
        train_epoch(run, transfer)
    if run.requests.agreement is not None and run.requests.agreement.exchange is not None:
        run.requests.agreement.exchange.settle()  # nothing may be under way when the group is left
    hooks.notify("on_train_end")


def train_epoch(run: FitRun, transfer: Transfer) -> None:
    """Train on the batches of an epoch that are left."""
    _start_epoch(run)
    progress, requests, has_limit = run.progress, run.requests, run.job.limits.max_steps != -1
    is_exhausted = False
    if progress.is_batch_open:  # resumed from within its hooks; what it was trained on is gone
        run.job.hooks.catch_up("on_train_batch_end", None, None, progress.batches_in_epoch - 1)
        finish_batch(run, progress.batches_in_epoch - 1)
    for batch, batch_idx, _, is_last in run.data.remaining_steps():
        progress.is_last_batch, progress.is_in_batch = is_last, True
        if train_batch(run, batch, batch_idx=batch_idx, transfer=transfer) == SKIP_EPOCH:
            break
        if requests.agreement is not None:
            agree_at_boundary(run)
        finish_batch(run, batch_idx)
        if requests.is_pending and honour(run):
            break
        if has_limit and has_reached_max_steps(run):
            break
    else:
        is_exhausted = True
    run.data.end_epoch(is_exhausted=is_exhausted)
    _end_epoch(run)


def train_batch(run: FitRun, batch: object, *, batch_idx: int, transfer: Transfer) -> int | None:
    """Train on one micro-batch; returns `SKIP_EPOCH` when the module asks to skip the rest of the epoch."""
    hearers = run.job.hooks.hearers
    if batch is None:
        _skip_missing_batch(run, batch_idx)
        return None
    batch = transfer(batch, 0)
    run.job.recorder.start_batch(batch, counts=not run.data.pads or run.data.weight_of(batch_idx) > 0)
    if hearers["on_train_batch_start"] and run.job.hooks.notify("on_train_batch_start", batch, batch_idx) == SKIP_EPOCH:
        return SKIP_EPOCH
    outputs = run.train_on(batch, batch_idx)
    run.progress.count_batch(stepped=run.train_on.stepped)
    if run.optimization.schedulers:
        _step_schedulers(run)
    if hearers["on_train_batch_end"]:
        run.job.hooks.notify("on_train_batch_end", detached_outputs(outputs), batch, batch_idx)
    return None


def finish_batch(run: FitRun, batch_idx: int) -> None:
    """Do what follows a counted batch, where it's due: logging, validation, schedulers that watch a metric."""
    progress, log_every = run.progress, run.job.specs.logging.log_every_n_steps
    stepped = progress.last_batch_stepped
    if log_every and stepped and (progress.batches_that_stepped % log_every == 0 or run.requests.stop):
        _publish_steps(run)
    if run.validation.is_wanted and _validation_is_due(run, batch_idx):
        validate_while_fitting(run)
        agree_now(run)
    if stepped and run.optimization.schedulers:
        step_schedulers(run, "step", on_plateau=True)
    progress.is_batch_open = False


def _skip_missing_batch(run: FitRun, batch_idx: int) -> None:
    """Count a batch for which the loader gave ``None``, without training on anything.

    Raises:
        RuntimeError: with several ranks, which would wait for this one's gradients.
    """
    if run.requests.agreement is not None:
        message = (
            f"The training loader gave None as batch {batch_idx}, but the other ranks wait for the gradients of one."
            " Give every rank a batch."
        )
        raise RuntimeError(message)
    rank_zero_warn("The training loader gave None as a batch; it's skipped. If that's what you want, ignore this.")
    run.train_on.stepped = False
    run.progress.count_batch(stepped=False)
    run.job.hooks.notify("on_train_batch_end", None, None, batch_idx)


def is_done(run: FitRun) -> bool:
    """Say whether no further epoch is to be trained; asked before each."""
    limits = run.job.limits
    if run.data.num_batches == 0 or has_reached_max_steps(run):
        return True
    if limits.max_epochs != -1 and run.progress.epochs_completed >= limits.max_epochs:
        return True
    return run.requests.stop and may_stop(run)


def has_reached_max_steps(run: FitRun) -> bool:
    """Say whether ``max_steps`` optimizer steps were taken."""
    limit = run.job.limits.max_steps
    return limit != -1 and run.progress.global_step >= limit


def logging_is_due(run: FitRun) -> bool:
    """Say whether step values go to the loggers after the current batch."""
    every, progress = run.job.specs.logging.log_every_n_steps, run.progress
    if every == 0:
        return False
    return (progress.batches_that_stepped + progress.is_in_batch) % every == 0 or run.requests.stop


def _start_epoch(run: FitRun) -> None:
    """Ask for new loaders where they're due and tell everybody, unless a resume goes on within the epoch."""
    progress, loaders = run.progress, run.data.loaders
    if loaders.is_stale(progress.epochs_completed):
        run.data.load(run.job.runtime.strategy, progress.epochs_completed)
    loaders.set_epoch(progress.epochs_processed)
    run.data.resume(progress.batches_in_epoch)
    if progress.batches_in_epoch == 0:
        progress.start_epoch()
        run.job.hooks.notify("on_train_epoch_start")


def _publish_steps(run: FitRun) -> None:
    """Send the step values to the loggers."""
    loggers = run.job.loggers
    numbers = _flushed_steps(run)
    if numbers:
        numbers.setdefault("epoch", run.progress.epochs_completed)
        send(loggers, numbers, run.progress.batches_that_stepped - 1)


def _flushed_steps(run: FitRun) -> dict[str, Number]:
    """Return the step values over all ranks; they don't wait for each other where they know that none has any."""
    results, board, agreement = run.results, run.job.board, run.requests.agreement
    if agreement is not None and agreement.exchange is not None:
        is_shared = has_shared_steps(results)
        if not agreement.covers_step_values:
            # What this rank alone has just logged first goes with the next flush: the others hear of it one step later.
            return {} if is_shared else flush_steps_of_rank(results, board, own_only=True)
        agreement.covers_step_values = is_shared  # as on every other rank, or the flush raises
    return flush_steps(results, board, loggers=run.job.loggers, ranks=run.job.runtime.strategy)


def _validation_is_due(run: FitRun, batch_idx: int) -> bool:
    """Ask the schedule, with what it needs to know of this moment."""
    progress, schedule = run.progress, run.validation.schedule
    if progress.validated_at == progress.batches:  # resumed from within that validation, or from the hooks at its end
        run.job.hooks.catch_up("on_validation_end")
        return run.validation.is_interrupted
    elapsed = monotonic() - run.validation.ended_at if schedule.interval_seconds is not None else 0.0
    return schedule.is_due(
        progress.epochs_completed,
        batch_idx,
        total_batch_idx=progress.batches - 1,
        is_last_batch=progress.is_last_batch,
        stopping=run.requests.stop and run.optimization.window is None and may_stop(run),
        seconds_since_validation=elapsed,
    )


def _step_schedulers(run: FitRun) -> None:
    """Step the schedulers that don't watch a metric: per optimizer step, and with the epoch's last batch per epoch."""
    if run.train_on.stepped:
        step_schedulers(run, "step", on_plateau=False)
    if run.progress.is_last_batch:
        step_schedulers(run, "epoch", on_plateau=False)


def _end_epoch(run: FitRun) -> None:
    """Tell everybody, flush what was logged over the epoch, and count it."""
    progress, job = run.progress, run.job
    run.optimization.window = None
    progress.epochs_processed += 1
    job.recorder.end_batches()
    run.results.epoch_ended = True
    job.hooks.notify("on_train_epoch_end")
    _close_epoch(run)


def _close_epoch(run: FitRun) -> None:
    """Do what's left of an epoch after its hooks: schedulers that watch a metric, the loggers, counting."""
    progress, job = run.progress, run.job
    if run.optimization.schedulers:
        step_schedulers(run, "epoch", on_plateau=True)
    numbers = to_loggers(flush_epoch(run.results, job.board, job.runtime.strategy))
    if numbers:
        numbers.setdefault("epoch", progress.epochs_completed)
        send(job.loggers, numbers, max(progress.batches_that_stepped - 1, 0))
    for logger in job.loggers:
        logger.save()
    progress.epochs_completed += 1
    progress.start_epoch()
    agree_now(run)
    write_requested(run)
