"""Flags of ranks on one machine, in memory that all of them see: an exchange costs no collective."""

import mmap
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from lt_interfaces import FlagExchange

_WORD: Final = 8
_SLOTS: Final = 2
"""Words per rank: a rank is at most one exchange ahead of the others, so it never writes where one still reads."""
_BITS: Final = 16
_LONGEST_PAUSE_SECONDS: Final = 0.001
_MEMORY: Final = "/dev/shm"


class SharedFlagExchange(FlagExchange):
    """Each rank writes its flags into words of its own and reads those of the others.

    A word holds the number of the exchange and the flags, and is written at once. Ranks that synchronise gradients are
    within one step of each other, so what's read was written long ago; a rank that's early waits in Python, where
    signals and failures of others reach it.

    Args:
        words: memory of all ranks, two words each; see `shared_words`.
        rank: of this process.
        world_size: number of ranks.
        every: at how many boundaries one exchange is made.
    """

    def __init__(self, words: memoryview, *, rank: int, world_size: int, every: int = 1) -> None:
        self._words: Final = words
        self._rank: Final = rank
        self._places: Final = [range(slot, world_size * _SLOTS, _SLOTS) for slot in range(_SLOTS)]
        """Where the ranks write in the exchanges with even numbers, and in those with odd ones."""
        self._every: Final = every
        self._boundaries = 0
        self._number = 0
        self._num_flags = 0
        self._outcome: list[int] | None = None

    def exchange(self, flags: Sequence[bool]) -> Sequence[int] | None:
        self._boundaries += 1
        if self._boundaries % self._every:
            return None
        outcome = self.settle() or [0] * len(flags)
        self._number += 1
        self._num_flags = len(flags)
        self._outcome = None
        bits = sum(1 << place for place, flag in enumerate(flags) if flag) if True in flags else 0
        self._words[self._places[self._number % _SLOTS][self._rank]] = (self._number << _BITS) | bits
        return outcome

    def settle(self) -> Sequence[int]:
        if self._outcome is not None or not self._number:
            return self._outcome or []
        self._outcome = [0] * self._num_flags
        unraised = self._number << _BITS
        for place in self._places[self._number % _SLOTS]:
            # Usually a rank has written long ago, and nobody raised any flag.
            if self._words[place] != unraised:
                bits = self._flags_at(place)
                for flag in range(self._num_flags):
                    self._outcome[flag] += bits >> flag & 1
        return self._outcome

    def _flags_at(self, place: int) -> int:
        """Return the flags of a rank in this exchange, once it has written them."""
        pause = 0.0
        word: int = self._words[place]
        while word >> _BITS != self._number:
            time.sleep(pause)
            pause = min(2 * pause + 1e-5, _LONGEST_PAUSE_SECONDS)
            word = self._words[place]
        return word & ((1 << _BITS) - 1)


def shared_words(
    rank: int,
    world_size: int,
    *,
    broadcast: Callable[[str | None], str | None],
    all_agree: Callable[[bool], bool],
) -> memoryview | None:
    """Return memory for the flags of all ranks, ``None`` where they don't see the same. Collective.

    It's a file in memory that has no name any more once all have it.

    Args:
        rank: of this process.
        world_size: number of ranks.
        broadcast: returns what rank 0 gave.
        all_agree: says whether every rank said so.
    """
    path, token = None, secrets.token_bytes(_WORD)
    size = (world_size * _SLOTS + 1) * _WORD
    if rank == 0:
        path = _new_file(token, size)
    shared = broadcast(f"{path}\n{token.hex()}" if path is not None else None)
    words = None
    if shared is not None:
        name, expected = shared.split("\n")
        words = _mapped(Path(name), bytes.fromhex(expected), size)
    is_seen_by_all = all_agree(words is not None)
    if path is not None:
        path.unlink(missing_ok=True)
    return words if is_seen_by_all else None


def _new_file(token: bytes, size: int) -> Path | None:
    folder = _MEMORY if os.path.isdir(_MEMORY) else None
    try:
        descriptor, name = tempfile.mkstemp(prefix="lt-flags-", dir=folder)
        with os.fdopen(descriptor, "wb") as file:
            file.write(b"\0" * (size - _WORD) + token)
    except OSError:
        return None  # a full or read-only file system: flags then go through a collective
    return Path(name)


def _mapped(path: Path, token: bytes, size: int) -> memoryview | None:
    """Return the words of a file, if it's the one that rank 0 wrote: another machine may have one of that name."""
    try:
        with path.open("r+b") as file:
            memory = mmap.mmap(file.fileno(), size)
    except (OSError, ValueError):
        return None
    return memoryview(memory).cast("q") if memory[-_WORD:] == token else None
