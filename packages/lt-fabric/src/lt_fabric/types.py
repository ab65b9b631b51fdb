"""Types for annotating your own loop: what can step, what can be saved, paths, devices and collectives.

Import from here; nothing of lt does. Protocols are recognised by `isinstance` from their methods.

>>> import torch
>>> from lt_fabric.types import Optimizable
>>> isinstance(torch.optim.SGD([torch.zeros(1)], lr=0.1), Optimizable)
True
"""

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn

try:
    from torch.distributed import ProcessGroup, ReduceOp
except ImportError:  # a torch that was built without torch.distributed
    ProcessGroup = ReduceOp = Any  # type: ignore[assignment, misc]

PATH: TypeAlias = str | os.PathLike[str]
"""Where a file is, or a URL as a string."""
DEVICE: TypeAlias = torch.device | str | int
"""A device in any form that torch takes."""
MAP_LOCATION_TYPE: TypeAlias = (
    torch.device
    | str
    | int
    | Callable[[torch.UntypedStorage, str], torch.UntypedStorage | None]
    | Mapping[DEVICE, DEVICE]
    | None
)
"""Where loaded tensors go, as `torch.load` takes it."""
PARAMETERS: TypeAlias = Iterator[nn.Parameter]
"""Parameters, as modules give them."""
RedOpType: TypeAlias = Any
"""The type of a reduce operation, which torch has changed between releases."""


@runtime_checkable
class Stateful(Protocol):
    """An object that can be saved and go on from what was saved."""

    def state_dict(self) -> dict[Any, Any]:
        """Return what to save."""

    def load_state_dict(self, state_dict: dict[Any, Any]) -> Any:
        """Take back what `state_dict` returned."""


@runtime_checkable
class CollectibleGroup(Protocol):
    """A group of processes that do something together."""

    def size(self) -> int:
        """Return how many processes there are."""

    def rank(self) -> int:
        """Return which of them this one is, from 0."""


@runtime_checkable
class Steppable(Protocol):
    """An object that takes optimizer steps."""

    def step(self, closure: Callable[[], float] | None = ...) -> float | None:
        """Take one step, after ``closure``, if there's one, has made the gradients; return its loss."""


@runtime_checkable
class Optimizable(Steppable, Protocol):
    """An object that can stand in for a `torch.optim.Optimizer`."""

    param_groups: list[dict[Any, Any]]
    defaults: dict[Any, Any]
    state: Mapping[Tensor, Any]

    def state_dict(self) -> dict[str, Any]:
        """Return what to save."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""


__all__ = [
    "DEVICE",
    "MAP_LOCATION_TYPE",
    "PARAMETERS",
    "PATH",
    "CollectibleGroup",
    "Optimizable",
    "ProcessGroup",
    "RedOpType",
    "ReduceOp",
    "Stateful",
    "Steppable",
]
