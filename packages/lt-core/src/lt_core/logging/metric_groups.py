"""Metric objects of ranks that compute layers together: each sample counts once."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from lt_core.logging.metric_objects import metrics_of
from lt_fabric.data.shared_order import data_share
from lt_interfaces.strategy import Strategy


@contextmanager
def metrics_over_samples(module: nn.Module, strategy: Strategy) -> Iterator[None]:
    """Let a module's metric objects synchronise, within the context, over ranks that have different samples.

    Those that have a process group of their own keep it; so do metrics that somebody wrote by hand, which know neither.

    Args:
        module: where they are.
        strategy: of ranks some of which have the same samples.
    """
    metrics = [one for one in metrics_of(module).values() if getattr(one, "process_group", one) is None]
    before = [(metric, metric.distributed_available_fn) for metric in metrics]
    group = None if data_share(strategy).count == 1 else strategy.sample_group
    for metric in metrics:
        metric.process_group = group
        if group is None:  # every rank has all samples
            metric.distributed_available_fn = _is_alone
    try:
        yield
    finally:
        for metric, is_distributed in before:
            metric.process_group, metric.distributed_available_fn = None, is_distributed


def _is_alone() -> bool:
    return False
