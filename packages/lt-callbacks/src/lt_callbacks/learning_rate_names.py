"""Names under which learning rates are logged."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from torch.optim import Optimizer

from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.scheduling import LRSchedulerConfig

ParamGroup = dict[str, Any]
"""A parameter group of an optimizer, as torch keeps it."""


class NamedOptimizer(NamedTuple):
    """An optimizer with the name of each of its parameter groups, and its scheduler's interval."""

    optimizer: Optimizer
    names: Sequence[str]
    interval: str | None
    """``"step"`` or ``"epoch"``; ``None`` without a scheduler."""


def name_learning_rates(optimizers: Iterable[Optimizer], configs: Iterable[LRSchedulerConfig]) -> list[NamedOptimizer]:
    """Name every parameter group of every optimizer: ``lr-SGD``, ``lr-SGD-1`` for the next SGD, ``lr-SGD/pg2``.

    A scheduler's own name takes the place of ``lr-SGD``, a parameter group's that of ``pg2``.

    Raises:
        MisconfigurationException: when two groups of an optimizer have the same name.

    >>> from torch import nn
    >>> from torch.optim import SGD
    >>> optimizer = SGD([{"params": [nn.Parameter()]}, {"params": [nn.Parameter()], "name": "head"}], lr=0.1)
    >>> name_learning_rates([optimizer], [])[0].names
    ['lr-SGD/pg1', 'lr-SGD/head']
    """
    scheduled = [(config.scheduler.optimizer, config.name, config.interval) for config in configs]
    known = {id(optimizer) for optimizer, _, _ in scheduled}
    rest = [(optimizer, None, None) for optimizer in optimizers if id(optimizer) not in known]
    seen: Counter[str] = Counter()
    named = []
    for optimizer, name, interval in (*scheduled, *rest):
        base = _unique(name or f"lr-{type(optimizer).__name__}", seen)
        named.append(NamedOptimizer(optimizer, _group_names(base, optimizer.param_groups), interval))
    return named


def _unique(name: str, seen: Counter[str]) -> str:
    seen[name] += 1
    return name if seen[name] == 1 else f"{name}-{seen[name] - 1}"


def _group_names(base: str, groups: Sequence[ParamGroup]) -> list[str]:
    own_names = [group["name"] for group in groups if "name" in group]
    if len(set(own_names)) < len(own_names):
        message = f"Parameter groups need different names to be told apart in logs, but one optimizer has {own_names}."
        raise MisconfigurationException(message)
    if len(groups) == 1:
        return [f"{base}/{own_names[0]}" if own_names else base]
    return [f"{base}/{group.get('name', f'pg{number}')}" for number, group in enumerate(groups, start=1)]
