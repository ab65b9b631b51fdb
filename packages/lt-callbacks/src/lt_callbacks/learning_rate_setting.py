"""Setting a learning rate behind the back of schedulers that were made with another."""

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from lt_callbacks.learning_rate_names import ParamGroup
from lt_interfaces.rank_zero import rank_zero_warn


def set_learning_rate(optimizer: Optimizer, schedulers: Iterable[Any], rate: float) -> None:
    """Give all parameter groups a learning rate, as if optimizer and schedulers had been made with it.

    What a scheduler has made of the old rate by now it makes of the new one: behind a warm-up that begins at a tenth,
    the current rate becomes a tenth of ``rate``.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    >>> scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5)
    >>> set_learning_rate(optimizer, [scheduler], 0.1)
    >>> optimizer.param_groups[0]["lr"], scheduler.base_lrs
    (0.05, [0.1])
    """
    for group in optimizer.param_groups:
        initial = float(group.get("initial_lr", group["lr"]))
        factor = float(group["lr"]) / initial if initial else 1.0
        if "initial_lr" in group:
            _set(group, "initial_lr", rate)
        _set(group, "lr", rate * factor)
    if any("max_lr" in group for group in optimizer.param_groups):
        rank_zero_warn(
            f"The learning rate {rate:g} won't last: the scheduler takes its rates from its own arguments, such as"
            " `max_lr`. Search before `fit`, by `Tuner.lr_find`, and make the scheduler with what's found."
        )
    for scheduler in _with_parts(schedulers):
        if getattr(scheduler, "optimizer", None) is optimizer and hasattr(scheduler, "base_lrs"):
            scheduler.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]


def _set(group: ParamGroup, key: str, rate: float) -> None:
    """Set a rate; one that's a tensor, as compiled optimizers have it, stays the same tensor."""
    if isinstance(group[key], Tensor):
        group[key].fill_(rate)
    else:
        group[key] = rate


def _with_parts(schedulers: Iterable[Any]) -> Iterator[Any]:
    """Return schedulers and those that they're made of."""
    for scheduler in schedulers:
        yield scheduler
        yield from _with_parts(getattr(scheduler, "_schedulers", ()))
