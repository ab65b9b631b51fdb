"""Norms of a module's gradients, ready to be logged."""

import torch
from torch import Tensor, nn


def grad_norm(module: nn.Module, norm_type: float | str, group_separator: str = "/") -> dict[str, Tensor]:
    """Compute the norm of each parameter's gradient and that of all of them together.

    Usually called in ``on_before_optimizer_step`` and handed to ``self.log_dict``. Parameters without a gradient are
    left out; without any the result is empty. The values stay on their device.

    Args:
        module: whose gradients.
        norm_type: the p of the norm, or ``"inf"``; greater than 0.
        group_separator: what stands between the group's name and the parameter's.

    Raises:
        ValueError: ``norm_type`` isn't a number greater than 0.

    >>> layer = nn.Linear(2, 1, bias=False)
    >>> layer.weight.grad = torch.tensor([[3.0, 4.0]])
    >>> grad_norm(layer, norm_type=2)
    {'grad_2.0_norm/weight': tensor(5.), 'grad_2.0_norm_total': tensor(5.)}
    """
    power = float(norm_type)
    if not power > 0:
        message = f"`norm_type` must be a number greater than 0 or 'inf', not {norm_type!r}."
        raise ValueError(message)
    group = f"grad_{power}_norm"
    norms = {
        f"{group}{group_separator}{name}": torch.linalg.vector_norm(parameter.grad.detach(), power)
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }
    if norms:
        together = torch.stack([norm.to(next(iter(norms.values()))) for norm in norms.values()])
        norms[f"{group}_total"] = torch.linalg.vector_norm(together, power)
    return norms
