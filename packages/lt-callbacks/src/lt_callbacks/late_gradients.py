"""Gradients of parameters that were unfrozen after the strategy had been set up, brought together over ranks."""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

import torch
from torch import Tensor, nn


def late_parameters(module: nn.Module, known: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """Return the trained parameters that weren't known to be when the strategy was set up.

    torch's `DistributedDataParallel` leaves these out. Sharded ones (DTensors) aren't among them: their engine sees
    with each backward what has a gradient.
    """
    ids = {id(one) for one in known}
    trained = (one for one in module.parameters() if one.requires_grad and id(one) not in ids)
    return [one for one in trained if not hasattr(one, "full_tensor")]


@torch.no_grad()
def average_gradients(parameters: Sequence[nn.Parameter], mean: Callable[[Tensor], Tensor]) -> None:
    """Replace the gradients of all ranks by their mean. Collective: one reduction for each format of numbers.

    A rank that has no gradient of a parameter counts as zero; where no rank has one, there is none.

    Args:
        parameters: the same ones, in the same order, on every rank.
        mean: returns the mean of a tensor over ranks.
    """
    for _, alike in groupby(sorted(parameters, key=_format), key=_format):
        _average_alike(list(alike), mean)


def _format(parameter: nn.Parameter) -> str:
    return f"{parameter.dtype} {parameter.device}"


def _average_alike(parameters: list[nn.Parameter], mean: Callable[[Tensor], Tensor]) -> None:
    own = [torch.zeros_like(one) if one.grad is None else one.grad for one in parameters]
    # Whether a rank has a gradient travels along, and is looked at only where this one has none: no wait for a device.
    has_own = own[0].new_tensor([float(one.grad is not None) for one in parameters])
    averaged = mean(torch.cat([*(one.flatten() for one in own), has_own]))
    *parts, has_any = torch.split(averaged, [*(one.numel() for one in parameters), len(parameters)])
    for parameter, part, anywhere in zip(parameters, parts, has_any, strict=True):
        if parameter.grad is not None:
            parameter.grad.copy_(part.view_as(parameter))
        elif anywhere > 0:
            parameter.grad = part.view_as(parameter).clone()
