"""Saving a checkpoint of a run."""

import os
from typing import Any

from lt_core.checkpointing.dump import checkpoint_of
from lt_core.run.fit_run import FitRun
from lt_core.run.job import Job


def save(
    job: Job, run: FitRun | None, *, path: str | os.PathLike[str], weights_only: bool, storage_options: Any
) -> None:
    """Write a checkpoint. Collective: every rank gives its part, rank 0 (or all, for sharded IOs) writes.

    Args:
        job: the current or last entry point.
        run: the fit, if there was one.
        path: where.
        weights_only: leave out what only training needs.
        storage_options: for checkpoint IOs that take any.
    """
    for logger in job.loggers:
        logger.save()  # what was logged before this state must not be lost when the run is killed after it
    checkpoint = checkpoint_of(job, run, weights_only=weights_only)
    checkpoint_io, strategy = job.runtime.checkpoint_io, job.runtime.strategy
    if checkpoint_io.traits.sharded or strategy.is_global_zero:
        checkpoint_io.save_checkpoint(checkpoint, path, storage_options)
    strategy.barrier("save_checkpoint")
