"""Freezing parts of a module and training them again."""

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from lt_interfaces.rank_zero import rank_zero_warn

Modules: TypeAlias = "nn.Module | Iterable[Modules]"
"""A module, or a nest of them."""


def flatten_modules(modules: Modules) -> list[nn.Module]:
    """Return the modules inside that hold parameters themselves or have no further ones inside.

    >>> flatten_modules(nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.ReLU())))
    [Linear(in_features=1, out_features=1, bias=True), ReLU()]
    """
    if not isinstance(modules, nn.Module):
        return [one for inner in modules for one in flatten_modules(inner)]
    return [one for one in modules.modules() if one._parameters or not one._modules]


def filter_params(modules: Modules, train_bn: bool = True, requires_grad: bool = True) -> Iterator[nn.Parameter]:
    """Return the parameters that are trained, or those that aren't; those of batch norm layers only on request."""
    for module in flatten_modules(modules):
        if train_bn or not isinstance(module, _BatchNorm):
            yield from (one for one in module.parameters(recurse=False) if one.requires_grad == requires_grad)


def make_trainable(modules: Modules) -> None:
    """Let all parameters inside be trained, and batch norm layers note the statistics of what they see."""
    for module in flatten_modules(modules):
        _switch(module, is_on=True)


def freeze_module(module: nn.Module) -> None:
    """Leave the parameters that a module holds itself as they are, and a batch norm layer's statistics too."""
    _switch(module, is_on=False)


def freeze(modules: Modules, train_bn: bool = True) -> None:
    """Leave all parameters inside as they are, but those of batch norm layers, unless told to."""
    for module in flatten_modules(modules):
        _switch(module, is_on=train_bn and isinstance(module, _BatchNorm))


def filter_on_optimizer(optimizer: Optimizer, params: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """Return the parameters that the optimizer doesn't hold yet; warns of the others."""
    params = list(params)
    new = _not_in(optimizer, params)
    if len(new) < len(params):
        rank_zero_warn(
            f"{len(params) - len(new)} of the parameters to train from now on are in {type(optimizer).__name__} already"
            " and keep their group and its learning rate. Give the optimizer only what's trained from the start:"
            " `filter(lambda p: p.requires_grad, self.parameters())` in `configure_optimizers`."
        )
    return new


def unfreeze_and_add_param_group(
    modules: Modules,
    optimizer: Optimizer,
    lr: float | None = None,
    initial_denom_lr: float = 10.0,
    train_bn: bool = True,
) -> None:
    """Train frozen modules from now on, in a parameter group of their own.

    Args:
        modules: what to train.
        optimizer: which gets the group.
        lr: its learning rate; ``None``: that of the first group, divided by ``initial_denom_lr``.
        initial_denom_lr: see ``lr``.
        train_bn: whether batch norm layers are trained, too; if not, they stay as they are.
    """
    was_trained = {id(one) for one in filter_params(modules)}
    for module in flatten_modules(modules):
        if train_bn or not isinstance(module, _BatchNorm):
            _switch(module, is_on=True)
    params = list(filter_params(modules, train_bn=train_bn))
    # Parameters that were trained all along, such as those of batch norm, may well have a group: that's no mistake.
    filter_on_optimizer(optimizer, [one for one in params if id(one) not in was_trained])
    new = _not_in(optimizer, params)
    if new:
        rate = optimizer.param_groups[0]["lr"] / initial_denom_lr if lr is None else float(lr)
        optimizer.add_param_group({"params": new, "lr": rate})


def _not_in(optimizer: Optimizer, params: list[nn.Parameter]) -> list[nn.Parameter]:
    held = {id(one) for group in optimizer.param_groups for one in group["params"]}
    return [one for one in params if id(one) not in held]


def _switch(module: nn.Module, *, is_on: bool) -> None:
    if isinstance(module, _BatchNorm):
        module.track_running_stats = is_on
    for parameter in module.parameters(recurse=False):
        parameter.requires_grad = is_on
