"""A sampler that knows how far it was read, and goes on from there without reading an item."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Final

from torch.utils.data import BatchSampler

from lt_fabric.data.lengths import sized_len
from lt_fabric.data.stateful import StatefulLoader
from lt_interfaces.plain_values import to_plain


class IndexStream:
    """Stands in for a loader's sampler (or batch sampler): gives what it gives, and knows what was drawn.

    A loader draws indices before it reads their items: with workers, some batches ahead. What was drawn and not yet
    trained on is kept, so that it comes again after a resume even if the sampler draws from generators that training
    uses, too.

    Args:
        sampler: the sampler; what it yields is one index, or a batch of them.
        most_ahead: how many of these a loader may have drawn ahead of training.
    """

    def __init__(self, sampler: Any, most_ahead: int) -> None:
        self._sampler: Final = sampler
        self._most_ahead: Final = most_ahead
        self._resumed: _Drawn | None = None
        self._current: _Pass | None = None

    @property
    def was_opened(self) -> bool:
        """Whether the pass that was expected has begun; a loader with an `__iter__` of its own may never begin one."""
        return self._current is not None

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator[Any]:
        """Begins a pass, or goes on with the one given to `resume`."""
        # Loaders with workers ask twice before they draw: a pass counts once something was drawn in it.
        self._forget_begun()
        self._current = _Pass(self._sampler, self._most_ahead, self._resumed)
        return self._current.start()

    def expect(self) -> None:
        """Forgets the last pass, since a loader is about to begin one."""
        self._forget_begun()
        self._current = None

    def prime(self) -> None:
        """Draws what a pass begins with now: its first index, or when resuming all those that were drawn before.

        An order that's drawn at random is thus drawn when the pass begins, whatever draws until a batch is read.
        """
        if self._current is not None:
            self._current.prime()

    def _forget_begun(self) -> None:
        if self._current is not None and self._current.has_begun:
            self._resumed = None

    def resume(self, drawn: int, pending: Sequence[Any] = (), sampler_state: Any = None) -> None:
        """Lets the next pass go on where `state_dict` was taken."""
        self._resumed = _Drawn(drawn, pending, sampler_state)

    def stand_after(self, state: Any, *, was_cut: bool) -> None:
        """Lets a sampler that saves its own position stand where it was saved, between two passes.

        Args:
            state: its state then.
            was_cut: whether the pass before was left before its end.
        """
        stateful = _stateful_sampler(self._sampler)
        if stateful is None or state is None:
            return
        stateful.load_state_dict(state)
        # torchdata's goes on with the old pass first, which is over then; others have begun the next one.
        if not was_cut and list(islice(self._sampler, 1)):
            stateful.load_state_dict(state)

    def state_dict(self, taken: int) -> dict[str, Any]:
        """Returns the position after the first `taken` of this pass were trained on.

        Indices that a checkpoint can't hold are drawn again when resuming, and with them whatever the sampler draws.
        """
        drawn = self._current.drawn if self._current is not None else _Drawn(taken, (), _state_of(self._sampler))
        ahead = drawn.count - taken
        pending = list(drawn.recent)[-ahead:] if ahead > 0 else []
        if not _can_be_stored(pending):
            return {"drawn": taken, "pending": [], "sampler_state": None}
        return {"drawn": drawn.count, "pending": pending, "sampler_state": drawn.sampler_state}


@dataclass(frozen=True)
class _Drawn:
    """What was drawn of a sampler."""

    count: int
    recent: Sequence[Any]
    """The last of it, at least what wasn't trained on."""
    sampler_state: Any
    """The sampler's own state after that, if it has one."""


class _Pass:
    """One pass over a sampler, or what's left of it."""

    def __init__(self, sampler: Any, most_ahead: int, resumed: _Drawn | None) -> None:
        pending = resumed.recent if resumed is not None else ()
        self._sampler: Final = sampler
        self._resumed: Final = resumed
        self._pending: Final = list(pending)
        self._recent: Final = deque(pending, max(most_ahead, len(pending)))
        self._count = 0
        self._first: Final[list[Any]] = []
        self._indices: Final = self._draw()
        self._source: Iterator[Any] | None = None

    def start(self) -> Iterator[Any]:
        # What `prime` has drawn comes first; a list is looked at when it's iterated, not before.
        return chain(self._first, self._indices)

    @property
    def has_begun(self) -> bool:
        return self._source is not None

    def prime(self) -> None:
        if self.has_begun:
            return
        if self._resumed is None:
            self._first.extend(islice(self._indices, 1))
        else:
            self._begin()

    @property
    def drawn(self) -> _Drawn:
        return _Drawn(self._count, tuple(self._recent), _state_of(self._sampler))

    def _draw(self) -> Iterator[Any]:
        source = self._source or self._begin()
        yield from self._pending
        for indices in source:
            self._count += 1
            self._recent.append(indices)
            yield indices

    def _begin(self) -> Iterator[Any]:
        """Starts the sampler; when resuming, draws what was drawn before, which only moves generators."""
        drawn = self._resumed.count if self._resumed is not None else 0
        stateful = _stateful_sampler(self._sampler)
        saved = self._resumed.sampler_state if self._resumed is not None else None
        if stateful is not None and saved is not None:
            stateful.load_state_dict(saved)
        source: Iterator[Any] = iter(self._sampler)
        if stateful is None or saved is None:
            next(islice(source, drawn, drawn), None)
        elif drawn == sized_len(self._sampler) and list(islice(source, 1)):
            # The last batch wasn't full, so it had taken the sampler to its end: that was the begin of another pass.
            stateful.load_state_dict(saved)
            source = iter(())
        self._source = source
        self._count = drawn
        return source


def _can_be_stored(indices: list[Any]) -> bool:
    try:
        to_plain(indices, "indices")
    except TypeError:
        return False
    return True


def _state_of(sampler: Any) -> dict[str, Any] | None:
    stateful = _stateful_sampler(sampler)
    return stateful.state_dict() if stateful is not None else None


def _stateful_sampler(sampler: Any) -> StatefulLoader | None:
    """Returns what can save its own position: the sampler, or the one whose indices torch's batch sampler groups."""
    if isinstance(sampler, StatefulLoader):
        return sampler
    inner = sampler.sampler if type(sampler) is BatchSampler else None
    return inner if isinstance(inner, StatefulLoader) else None
