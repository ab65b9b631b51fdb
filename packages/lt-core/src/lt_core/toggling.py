"""Toggling: only one optimizer's parameters require grad for a while."""

from collections.abc import Iterable, Mapping

from torch import nn
from torch.optim import Optimizer


def toggle(optimizers: Iterable[Optimizer], active: Optimizer) -> dict[nn.Parameter, bool]:
    """Let only the active optimizer's parameters require grad; return what each parameter had before."""
    before = {parameter: parameter.requires_grad for optimizer in optimizers for parameter in _parameters(optimizer)}
    for parameter in before:
        parameter.requires_grad = False
    for parameter in _parameters(active):
        parameter.requires_grad = before.get(parameter, parameter.requires_grad)
    return before


def untoggle(before: Mapping[nn.Parameter, bool]) -> None:
    """Give each parameter back what `toggle` found."""
    for parameter, requires_grad in before.items():
        parameter.requires_grad = requires_grad


def _parameters(optimizer: Optimizer) -> Iterable[nn.Parameter]:
    for group in optimizer.param_groups:
        yield from group["params"]
