"""Objects that save their own position."""

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class StatefulLoader(Protocol):
    """A loader, sampler or dataset that can save where it stands and go on from there."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> object: ...
