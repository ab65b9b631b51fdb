"""How many optimizer steps a fit will take, for schedules that must know."""

from math import ceil, inf

from lt_core.run.fit_run import FitRun
from lt_interfaces.errors import MisconfigurationException


def estimated_stepping_batches(run: FitRun) -> int | float:
    """Return the optimizer steps that fitting will take in all; infinite when nobody knows. Loads the training data.

    Raises:
        MisconfigurationException: when the accumulation changes during the run, so nobody can know.
    """
    limits = run.job.limits
    max_steps = inf if limits.max_steps == -1 else limits.max_steps
    if limits.max_epochs == -1:
        return max_steps
    if not run.data.loaders.is_loaded:
        run.data.load(run.job.runtime.strategy, run.progress.epochs_completed)
    batches = run.data.num_batches
    if batches == inf:
        return max_steps
    if run.optimization.accumulation < 1:
        message = "`estimated_stepping_batches` needs a fixed number of micro-batches per step."
        raise MisconfigurationException(message)
    return min(_steps(run, int(batches), max(limits.max_epochs, 1)), max_steps)


def _steps(run: FitRun, batches: int, epochs: int) -> int:
    """Return the optimizer steps of whole epochs; a callback that schedules accumulation says how many each has."""
    scheduler = next((one for one in run.job.callbacks if hasattr(one, "get_accumulate_grad_batches")), None)
    if scheduler is None:
        return ceil(batches / run.optimization.accumulation) * epochs
    return sum(ceil(batches / scheduler.get_accumulate_grad_batches(epoch)) for epoch in range(epochs))
