"""What may be logged: checks and conversion of one value."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

Number = int | float
FLOATS = (torch.float32, torch.float64)


def is_metric(value: object) -> bool:
    """Recognise a metric object (such as torchmetrics') by its methods, so that its package needn't be imported."""
    return all(callable(getattr(value, name, None)) for name in ("update", "compute", "reset"))


def scalar(name: str, value: Any, *, enable_graph: bool) -> Tensor | Number:
    """Return a logged value as a detached scalar, cheaply: no host sync, no copy of a number into a tensor.

    Integers keep their exact value; half precision becomes the default float format.

    Raises:
        ValueError: for what isn't one number.
    """
    if isinstance(value, Tensor):
        if value.numel() != 1:
            message = f"`self.log({name!r}, value)` takes one number, but got a tensor of shape {tuple(value.shape)}."
            raise ValueError(message)
        if not enable_graph:
            value = value.detach()
        if value.dim():
            value = value.reshape(())
        return _wide(value)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return value
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "size", 0) == 1:  # a NumPy scalar
        number: Number = item()
        return number
    kind = "a dict; use `self.log_dict`" if isinstance(value, Mapping) else f"{type(value).__name__}"
    message = f"`self.log({name!r}, value)` takes a number, a tensor with one element or a metric, but got {kind}."
    raise ValueError(message)


def _wide(value: Tensor) -> Tensor:
    """Return the value in a format that sums can be taken in without losing it."""
    if value.dtype in FLOATS:
        return value
    if value.is_floating_point():
        return value.to(torch.get_default_dtype())
    # float64 holds every integer up to 2**53; MPS has no float64.
    return value.to(torch.float32 if value.device.type == "mps" else torch.float64)


def to_host(values: Mapping[str, Tensor | Number]) -> dict[str, Number]:
    """Return the values as Python numbers, with one host sync for all tensors of a device."""
    by_device: dict[torch.device, list[str]] = {}
    for name, value in values.items():
        if isinstance(value, Tensor):
            by_device.setdefault(value.device, []).append(name)
    numbers: dict[str, Number] = {name: value for name, value in values.items() if not isinstance(value, Tensor)}
    for device, names in by_device.items():
        wide = torch.float32 if device.type == "mps" else torch.float64
        stacked = torch.stack([torch.as_tensor(values[name]).detach().to(wide) for name in names])
        numbers.update(zip(names, stacked.tolist(), strict=True))
    return {name: numbers[name] for name in values}


def to_tensor(value: Tensor | Number) -> Tensor:
    """Return the value as users read it from ``callback_metrics``: a tensor."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, int):
        return torch.tensor(value)
    # float32 holds whole numbers up to 2**24; counts of tokens and samples are larger.
    is_large_count = abs(value) > 2**24 and value.is_integer()
    return torch.tensor(value, dtype=torch.float64 if is_large_count else torch.get_default_dtype())
