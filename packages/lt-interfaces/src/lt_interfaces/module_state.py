"""Loading weights into a module, with an error that can be read where they don't fit."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

from torch import Tensor
from torch.nn.parameter import is_lazy

_MOST_LISTED: Final = 10


class HoldsWeights(Protocol):
    """What `torch.nn.Module` offers to read and load its weights."""

    def state_dict(self) -> dict[str, Any]:
        """As `torch.nn.Module.state_dict`."""

    def load_state_dict(self, state_dict: Any, strict: bool = True) -> Any:
        """As `torch.nn.Module.load_state_dict`."""


def load_state_dict_clearly(module: HoldsWeights, state: Mapping[str, Any], *, strict: bool = True) -> Any:
    """Call ``module.load_state_dict``, and say in short what doesn't fit where it raises.

    Returns:
        What ``load_state_dict`` returns: missing and unexpected keys.

    Raises:
        RuntimeError: keys are missing, unexpected (both only if ``strict``) or of another shape; ten of each kind at
            most are listed. What else torch raises comes through as it is.

    >>> from torch import nn
    >>> load_state_dict_clearly(nn.Linear(2, 1), nn.Linear(3, 1).state_dict())
    Traceback (most recent call last):
    RuntimeError: The weights don't fit `Linear`: 1 key of another shape: `weight` (1, 3) instead of (1, 2). Load...
    """
    try:
        return module.load_state_dict(state, strict=strict)
    except RuntimeError:
        misfits = _misfits(module.state_dict(), state, strict=strict)
        if not misfits:
            raise
    message = (
        f"The weights don't fit `{type(module).__name__}`: {'; '.join(misfits)}. Load them into a module that's made as"
        " the one they were saved from"
    )
    way_out = ", or set `strict_loading = False` (or pass `strict=False`) to load those that fit." if strict else "."
    # Without torch's own error, which lists every key.
    raise RuntimeError(message + way_out) from None


def listed(names: Iterable[str]) -> str:
    """Return the first ten of some names, and how many more there are.

    >>> listed(f"layer{number}" for number in range(12))
    '`layer0`, `layer1`, `layer2`, `layer3`, `layer4`, `layer5`, `layer6`, `layer7`, `layer8`, `layer9` and 2 more'
    """
    return _shortened([f"`{name}`" for name in names])


def _misfits(own: Mapping[str, Any], given: Mapping[str, Any], *, strict: bool) -> list[str]:
    """Return a phrase for each way in which keys don't fit."""
    missing = [f"`{name}`" for name in own if name not in given]
    unexpected = [f"`{name}`" for name in given if name not in own]
    reshaped = [
        f"`{name}` {tuple(given[name].shape)} instead of {tuple(value.shape)}"
        for name, value in own.items()
        if name in given and _differ_in_shape(value, given[name])
    ]
    phrases = (
        ("missing from the checkpoint", missing if strict else []),
        ("that the module doesn't have", unexpected if strict else []),
        ("of another shape", reshaped),
    )
    return [
        f"{len(found)} {'key' if len(found) == 1 else 'keys'} {how}: {_shortened(found)}"
        for how, found in phrases
        if found
    ]


def _differ_in_shape(own: object, given: object) -> bool:
    if not (isinstance(own, Tensor) and isinstance(given, Tensor)) or is_lazy(own) or is_lazy(given):
        return False
    is_old_scalar = (
        own.ndim == 0 and given.numel() == 1
    )  # torch accepts scalars that were once saved with one dimension
    return own.shape != given.shape and not is_old_scalar


def _shortened(items: list[str]) -> str:
    rest = len(items) - _MOST_LISTED
    return ", ".join(items[:_MOST_LISTED]) + (f" and {rest} more" if rest > 0 else "")
