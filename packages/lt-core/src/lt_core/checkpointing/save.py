"""Saving a checkpoint of a run."""

from lt_core.checkpointing.dump import checkpoint_of
from lt_core.run.fit_run import FitRun
from lt_core.run.job import Job
from lt_core.run.requests import SaveRequest


def save(job: Job, run: FitRun | None, wanted: SaveRequest) -> None:
    """Write a checkpoint, at once or where the run can be taken up again from it.

    Collective: every rank gives its part, rank 0 (or all, for sharded IOs) writes.

    Args:
        job: the current or last entry point.
        run: the fit, if there was one.
        wanted: what to write, and where.
    """
    if run is not None and not run.may_save:
        run.requests.request_save(wanted)  # the window's gradients lie on several ranks, or in an engine
        return
    for logger in job.loggers:
        logger.save()  # what was logged before this state must not be lost when the run is killed after it
    checkpoint = checkpoint_of(job, run, weights_only=wanted.weights_only)
    checkpoint_io, strategy = job.runtime.checkpoint_io, job.runtime.strategy
    if checkpoint_io.traits.sharded or strategy.is_global_zero:
        checkpoint_io.save_checkpoint(checkpoint, wanted.path, wanted.storage_options)
    if checkpoint_io.traits.asynchronous and run is not None:
        run.requests.wake()  # the loop asks at step boundaries whether it went well
    strategy.barrier("save_checkpoint")
