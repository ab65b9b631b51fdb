"""Stepping of learning-rate schedulers: when, and with which metric."""

from typing import Any

from lt_core.logging.publication import reduced
from lt_core.run.fit_run import FitRun
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.rank_zero import rank_zero_warn
from lt_interfaces.scheduling import LRSchedulerConfig


def step_schedulers(run: FitRun, interval: str, *, on_plateau: bool) -> None:
    """Step the schedulers of an interval that are due; nothing happens in manual optimization.

    Args:
        run: the run.
        interval: "step" counts optimizer steps, "epoch" epochs.
        on_plateau: whether it's the turn of those that watch a metric, or of the others.
    """
    if not run.job.module.automatic_optimization:
        return
    done = run.progress.global_step if interval == "step" else run.progress.epochs_completed + 1
    for config in run.optimization.schedulers:
        wanted = config.interval == interval and config.reduce_on_plateau is on_plateau
        if wanted and done % config.frequency == 0:
            _step(run, config)


def _step(run: FitRun, config: LRSchedulerConfig) -> None:
    metric = None
    if config.reduce_on_plateau:
        metric = _monitored(run, config)
        if metric is None:
            return
    recorder = run.job.recorder
    recorder.hook = "lr_scheduler_step"
    try:
        run.job.module.lr_scheduler_step(config.scheduler, metric)
    finally:
        recorder.hook = None


def _monitored(run: FitRun, config: LRSchedulerConfig) -> Any:
    """Return the value of the metric that a scheduler watches, over all ranks; ``None`` (with a warning) if absent."""
    assert config.monitor is not None  # checked when the optimizers were configured
    metric = reduced(run.results, run.job.board, key=config.monitor, ranks=run.job.runtime.strategy)
    if metric is not None:
        return metric
    message = (
        f"{type(config.scheduler).__name__} watches `monitor={config.monitor!r}`, which wasn't logged. Available are"
        f" {sorted(run.job.board.callback)}."
    )
    if config.strict:
        raise MisconfigurationException(message + " Log it, or set `strict: False` in the scheduler's dict to skip.")
    rank_zero_warn(message + " The scheduler isn't stepped.", category=RuntimeWarning)
    return None
