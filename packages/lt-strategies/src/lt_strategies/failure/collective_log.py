"""Which collectives this rank has called lately: a switch for finding out who waits for whom, and where."""

import functools
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d

SWITCH: Final = "LT_DEBUG_COLLECTIVES"
"""Set to "1", each rank remembers its last collectives, and the report of a failure says where all ranks were."""

_NUM_REMEMBERED: Final = 64
_WRAPPED: Final = (
    "all_gather",
    "all_gather_into_tensor",
    "all_gather_object",
    "all_reduce",
    "all_to_all",
    "all_to_all_single",
    "barrier",
    "broadcast",
    "broadcast_object_list",
    "gather",
    "gather_object",
    "monitored_barrier",
    "recv",
    "reduce",
    "reduce_scatter",
    "reduce_scatter_tensor",
    "scatter",
    "scatter_object_list",
    "send",
)
_TORCH: Final = str(Path(torch.__file__).parent)
_HERE: Final = str(Path(__file__).parent)
# Packages that a user's call comes through.
_BETWEEN: Final = ("lt_strategies", "lt_fabric", "lt_core", "lt_interfaces")


@dataclass
class _Call:
    """One collective of this rank."""

    what: str
    place: str
    began: float
    ended: float | None = None
    has_failed: bool = False


class CollectiveLog:
    """The last collectives of this process. Does nothing and costs nothing before `install`."""

    def __init__(self) -> None:
        self.is_on = False
        self._calls: Final[deque[_Call]] = deque(maxlen=_NUM_REMEMBERED)
        self._originals: Final[dict[str, Callable[..., Any]]] = {}
        self._within = threading.local()

    def install_if_wanted(self) -> None:
        """Remember collectives from now on, if the switch is on."""
        if self.is_on or os.environ.get(SWITCH) != "1":
            return
        self.is_on = True
        for name in _WRAPPED:
            original = getattr(dist, name)
            self._originals[name] = original
            self._put(name, self._remembering(name, original))

    def uninstall(self) -> None:
        """Put torch's functions back."""
        self.is_on = False
        for name, original in self._originals.items():
            self._put(name, original)
        self._originals.clear()
        self._calls.clear()

    def begin(self, operation: str, shape: str = "") -> Callable[[], None]:
        """Remember what was started elsewhere than through a function of `torch.distributed`, e.g. a bucket of DDP.

        Returns:
            What to call when it has ended.
        """
        main = sys._current_frames().get(threading.main_thread().ident or 0)
        call = _Call(f"{operation} {shape}".rstrip(), _place(main), began=time.monotonic())
        if self.is_on:
            self._calls.append(call)
        return functools.partial(_end, call)

    def describe(self) -> str:
        """Say where this rank is: in which collective, or where its main thread is after which one."""
        now, call = time.monotonic(), self._calls[-1] if self._calls else None
        if call is not None and call.ended is None:
            return f"waits in {call.what} at {call.place} since {now - call.began:.1f} s"
        main = sys._current_frames().get(threading.main_thread().ident or 0)
        where = f"its main thread is at {_place(main)}"
        if call is None:
            return f"has called no collective; {where}"
        if call.has_failed:
            return f"gave up {call.what} at {call.place} after {(call.ended or now) - call.began:.1f} s"
        return f"last finished {call.what} at {call.place}, {now - (call.ended or now):.1f} s ago; {where}"

    def lines(self) -> list[str]:
        """Return what's remembered, the oldest first."""
        return [f"{call.what} at {call.place}" for call in self._calls]

    def _put(self, name: str, function: Callable[..., Any]) -> None:
        setattr(dist, name, function)
        setattr(distributed_c10d, name, function)

    def _remembering(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def remembered(*args: Any, **kwargs: Any) -> Any:
            if getattr(self._within, "is_set", False):  # torch's collectives of objects use those of tensors
                return original(*args, **kwargs)
            call = _Call(_what(name, args, kwargs), _place(sys._getframe(1)), began=time.monotonic())
            self._calls.append(call)
            self._within.is_set = True
            try:
                return original(*args, **kwargs)
            except BaseException:
                call.has_failed = True
                raise
            finally:
                self._within.is_set = False
                call.ended = time.monotonic()

        return remembered


COLLECTIVES: Final = CollectiveLog()
"""The one of this process: torch's functions are replaced once."""


def _end(call: _Call) -> None:
    call.ended = time.monotonic()


def _what(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    tensor = next(iter(_tensors((*args, *kwargs.values()))), None)
    shape = "" if tensor is None else f" {tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
    group = getattr(kwargs.get("group"), "group_name", None)
    return f"{name}{shape}" + (f" of group {group}" if group is not None else "")


def _tensors(values: Iterable[Any]) -> Iterable[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from (one for one in value if isinstance(one, torch.Tensor))


def _place(frame: FrameType | None) -> str:
    """Return file and line of the user's code that a frame belongs to, or of ours where no user's is above it."""
    nearest = ""
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith((_TORCH, _HERE, "<")):
            place = f"{Path(file).name}:{frame.f_lineno}"
            if str(frame.f_globals.get("__name__", "")).partition(".")[0] not in _BETWEEN:
                return place
            nearest = nearest or place
        frame = frame.f_back
    return nearest or "an unknown place"
