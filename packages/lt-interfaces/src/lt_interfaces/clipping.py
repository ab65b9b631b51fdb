"""Clipping gradients, on plain, sharded and mixed parameters alike."""

from collections.abc import Iterable
from math import inf

import torch
from lightning_utilities.core.enums import StrEnum
from torch import Tensor
from torch.nn.utils import clip_grad_value_, clip_grads_with_norm_, get_total_norm


class GradClipAlgorithmType(StrEnum):
    """How ``gradient_clip_val`` is meant: as the largest absolute value of an element, or as the largest norm."""

    VALUE = "value"
    NORM = "norm"


def clip_gradients(
    parameters: Iterable[Tensor],
    *,
    max_norm: float | None = None,
    clip_value: float | None = None,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor | None:
    """Clip by norm or by value, whichever is given, as `Strategy.clip_gradients` says.

    Raises:
        ValueError: neither is given.
    """
    if clip_value is not None:
        clip_grad_value(parameters, clip_value)
        return None
    if max_norm is None:
        message = "Give `max_norm` or `clip_value` to clip gradients; both are None."
        raise ValueError(message)
    return clip_grad_norm(parameters, max_norm, norm_type=norm_type, error_if_nonfinite=error_if_nonfinite)


def clip_grad_norm(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    *,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale all gradients in place so that their norm, taken as one vector, is at most ``max_norm``.

    The norm is that of the whole model: DTensor gradients count with all their shards, whichever meshes they live on.
    Then this is a collective call for the ranks of those meshes, with parameters in the same order. There is no host
    sync unless ``error_if_nonfinite`` asks for one. With an infinite ``max_norm`` the norm is measured alone.

    Returns:
        The norm before clipping, a plain tensor of shape ``()``; zero when there are no gradients.

    Raises:
        RuntimeError: the norm is infinite or NaN and ``error_if_nonfinite`` is set; gradients are unchanged then.

    >>> weight = torch.nn.Parameter(torch.zeros(2))
    >>> weight.grad = torch.tensor([3.0, 4.0])
    >>> clip_grad_norm([weight], max_norm=1.0)
    tensor(5.)
    """
    groups = _grouped_by_mesh([parameters] if isinstance(parameters, Tensor) else parameters)
    norms = [_plain_norm(group, norm_type) for group in groups]
    if not norms:
        return torch.tensor(0.0)
    total = norms[0]
    if len(norms) > 1:
        total = torch.linalg.vector_norm(torch.stack([norm.to(total.device) for norm in norms]), norm_type)
    if error_if_nonfinite and not torch.isfinite(total):
        message = (
            f"The norm of the gradients is {total.item()}, so they can't be clipped. "
            "Pass `error_if_nonfinite=False` to scale them all the same."
        )
        raise RuntimeError(message)
    if max_norm != inf:
        for group in groups:
            clip_grads_with_norm_(group, max_norm, total)
    return total


def clip_grad_value(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Clamp every gradient element in place to the range from ``-clip_value`` to ``clip_value``; not collective.

    >>> weight = torch.nn.Parameter(torch.zeros(2))
    >>> weight.grad = torch.tensor([3.0, -0.5])
    >>> clip_grad_value([weight], 1.0)
    >>> weight.grad
    tensor([ 1.0000, -0.5000])
    """
    for group in _grouped_by_mesh([parameters] if isinstance(parameters, Tensor) else parameters):
        clip_grad_value_(group, clip_value)


def _grouped_by_mesh(parameters: Iterable[Tensor]) -> list[list[Tensor]]:
    """Group the parameters that have gradients by the device mesh of these, since torch combines no two meshes."""
    groups: dict[object, list[Tensor]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            # Only DTensor has the attribute; importing the class would load torch.distributed.tensor for everybody.
            groups.setdefault(getattr(parameter.grad, "device_mesh", None), []).append(parameter)
    return list(groups.values())


def _plain_norm(group: list[Tensor], norm_type: float) -> Tensor:
    norm: Tensor = get_total_norm([parameter.grad for parameter in group if parameter.grad is not None], norm_type)
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm
