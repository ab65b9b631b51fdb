"""The argument ``accelerator``: names, ``"auto"``, ``"gpu"`` and instances."""

from typing import Final

import torch

from lt_interfaces import Accelerator, MisconfigurationException, plugins

_GPUS: Final = ("cuda", "mps")


def choose_accelerator(asked: str | Accelerator, device: torch.device | None = None) -> Accelerator:
    """Return the accelerator that the user's words mean on this machine.

    Args:
        asked: a name, ``"gpu"``, ``"auto"`` or an instance.
        device: the device that a strategy was made with; it decides under ``"auto"``.

    Raises:
        MisconfigurationException: when it isn't available here, or contradicts the strategy's device.
        ValueError: for an unknown name.

    >>> choose_accelerator("cpu").name
    'cpu'
    """
    accelerator = _by_name(asked, device) if isinstance(asked, str) else asked
    if device is not None and accelerator.name != device.type:
        message = (
            f"`accelerator={asked!r}` contradicts the strategy, which was made with the device `{device}`. "
            "Leave one of them out."
        )
        raise MisconfigurationException(message)
    if not accelerator.is_available():
        message = f"`accelerator={asked!r}` isn't available on this machine; here are: {_available_names()}."
        raise MisconfigurationException(message)
    return accelerator


def _by_name(name: str, device: torch.device | None) -> Accelerator:
    if name == "auto":
        return _load(device.type) if device is not None else _best_available()
    if name == "gpu":
        return _best_gpu(device)
    return _load(name)


def _best_available() -> Accelerator:
    installed = [_load(name) for name in plugins.candidates("accelerators")]
    return max((one for one in installed if one.is_available()), key=lambda one: one.auto_priority)


def _best_gpu(device: torch.device | None) -> Accelerator:
    if device is not None and device.type in _GPUS:
        return _load(device.type)
    for name in _GPUS:
        accelerator = _load(name)
        if accelerator.is_available():
            return accelerator
    message = f"`accelerator='gpu'` found no GPU on this machine; here are: {_available_names()}."
    raise MisconfigurationException(message)


def _available_names() -> list[str]:
    return [name for name in plugins.candidates("accelerators") if _load(name).is_available()]


def _load(name: str) -> Accelerator:
    accelerator: Accelerator = plugins.resolve("accelerators", name)()
    return accelerator
