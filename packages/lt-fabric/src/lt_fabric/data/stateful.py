"""Objects that save their own position."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, runtime_checkable

RANKS: Final = "ranks"
"""Where a checkpoint has the states of all ranks of something that each has a state of its own of."""


@runtime_checkable
class StatefulLoader(Protocol):
    """A loader, sampler or dataset that can save where it stands and go on from there."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> object: ...


@runtime_checkable
class StatePerRank(StatefulLoader, Protocol):
    """What each rank has a state of its own of: a checkpoint holds them all."""

    def load_rank_states(self, states: Sequence[Mapping[str, Any]], *, rank: int, world_size: int) -> None: ...
