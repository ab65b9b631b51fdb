"""Where the data of a loop stands, and how to get back there."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice
from math import inf
from typing import Any, Final

from lt_fabric.data.combined_loader import CombinedLoader, Step
from lt_fabric.data.loader_position import LoaderPosition
from lt_fabric.data.moved_position import MovedPosition, moved_position, refuse_other_loaders
from lt_interfaces.rng import capture_rng_state, note_rng_state, restore_rng_state


class DataPosition:
    """Where the loaders of a loop stand in their epoch; a checkpoint that holds its state brings a new process there.

    Random generators are part of it: the order of an epoch is drawn again as it was, without reading an item, and
    training goes on with the generators as they were when the state was taken.

    Args:
        loaders: what the loop iterates.
        is_limited: whether an epoch ends before the loaders do.

    Example:
        >>> from torch.utils.data import DataLoader
        >>> position = DataPosition(CombinedLoader(DataLoader(range(4), shuffle=True)))
        >>> steps = position.steps()
        >>> first = next(steps)
        >>> saved = position.state_dict(given=1)
        >>> rest = [batch for batch, _, _ in steps]
        >>> resumed = DataPosition(CombinedLoader(DataLoader(range(4), shuffle=True)))
        >>> resumed.load_state_dict(saved)
        >>> [batch for batch, _, _ in resumed.steps()] == rest
        True
    """

    def __init__(self, loaders: CombinedLoader, *, is_limited: bool = False) -> None:
        self._loaders: Final = loaders
        self._is_limited: Final = is_limited
        self._positions: Final = [LoaderPosition(loader) for loader in loaders.flattened]
        self._end = _End()
        self._was_opened = False
        self._loaded: Mapping[str, Any] | None = None
        # What was read ahead isn't trained on yet: the positions before each batch ahead was fetched.
        self._marks: deque[dict[str, Any]] = deque(maxlen=1)

    @property
    def row(self) -> int:
        """Batches of the epoch that were given before the coming `steps`; 0 at an epoch's begin."""
        within = self._loaded is not None and not self._loaded["is_over"]
        return int(self._loaded["row"]) if within and self._loaded is not None else 0

    @property
    def is_resumed(self) -> bool:
        """Whether the coming `steps` go on within an epoch."""
        return self._loaded is not None and not self._loaded["is_over"]

    @property
    def batches_ahead(self) -> int:
        """How many batches must be read ahead: one, where only that tells which is the last."""
        return int(not self._loaders.is_sized or any(position.looks_ahead for position in self._positions))

    def steps(self, ahead: int = 0, most: int | float = inf) -> Iterator[Step]:
        """Opens the loaders for an epoch, or for what's left of the one whose state was loaded.

        Going on, all random generators are afterwards as they were when the state was taken.

        Args:
            ahead: how many batches the loop reads before it trains on one.
            most: how many batches it takes at most; only steps that are read ahead are cut there.
        """
        loaded, self._loaded = self._loaded, None
        self._end, self._was_opened = _End(), True
        self._marks = deque(maxlen=max(ahead, 1))
        if loaded is not None and not loaded["is_over"]:
            if loaded["is_exhausted"]:
                self._end = _End(is_exhausted=True, was_cut=loaded["was_cut"])
                self._settle(loaded["now"])
                return iter(())
            return self._remaining(loaded, ahead, most)
        for position in self._positions:
            position.ended = 0
        steps = self._opened()
        return self._marked(steps, 0, most) if ahead else steps

    def end_epoch(self, *, is_exhausted: bool) -> None:
        """Says that the epoch is over; `is_exhausted`: the steps were iterated to their end."""
        self._end = _End(is_over=True, was_cut=self._is_limited or not is_exhausted)
        self._marks.clear()

    def state_dict(self, given: int) -> dict[str, Any]:
        """Returns the position after the first `given` batches of the epoch were given to the loop."""
        if self._loaded is not None:
            return dict(self._loaded)
        noted = self._marks[0] if self._marks else self._mark(given)
        mark = _saved(noted)
        return {**mark, **asdict(self._end), "now": _saved(self._mark(noted["row"])) if self._marks else mark}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state_dict` returned; call it before `steps`.

        Raises:
            ValueError: there are more or fewer loaders than were saved, or their generators aren't those.
        """
        saved = state["loaders"]
        if saved is None:
            return  # saved before the loaders were opened
        refuse_other_loaders(len(saved), len(self._positions))
        for position, own in zip(self._positions, saved, strict=True):
            # In this mode a loader isn't opened again in an epoch.
            has_ended = self._loaders.mode == "max_size" and own["ended"] > 0
            is_over = state["is_over"] or state["is_exhausted"] or has_ended
            position.load_state_dict(own, is_over=is_over, was_cut=state["was_cut"])
        self._loaded = state

    def moved(self, states: Sequence[Mapping[str, Any]], *, rank: int, world_size: int) -> MovedPosition:
        """Returns the place that the ranks of a job saved, for a rank of this one, whatever number these are.

        The place is one in all ranks' samples: other ranks, or batches of another size, go on after the same ones.

        Args:
            states: what `state_dict` returned, by rank of that job.
            rank: this process's.
            world_size: processes of this job.

        Raises:
            ValueError: as `load_state_dict`; or no whole number of this job's batches leads there.
        """
        shapes = [position.shape for position in self._positions]
        return moved_position(states, shapes, rank=rank, world_size=world_size, num_batches=self._loaders.num_batches)

    def skip(self, given: int) -> None:
        """Lets the coming `steps` begin after `given` batches, where nothing else is known of the position."""
        rng = capture_rng_state()
        unknown = {"taken": given, "ended": 0, "start": None, "generators": None, "kind": None, "source": None}
        mark = {"row": given, "loaders": [unknown] * len(self._positions), "rng": rng}
        self.load_state_dict({**mark, **asdict(_End()), "now": mark})

    def _opened(self, row: int = 0, ended: frozenset[int] = frozenset()) -> Iterator[Step]:
        single = self._loaders.is_single
        openers = [position.open if single else position.counted for position in self._positions]
        return self._loaders.iterate(openers, row=row, ended=ended)

    def _remaining(self, state: Mapping[str, Any], ahead: int, most: int | float) -> Iterator[Step]:
        ended = frozenset(index for index, own in enumerate(state["loaders"]) if own["ended"])
        steps = self._opened(state["row"], ended)
        self._settle(state)
        if not ahead:
            return steps
        marked = self._marked(steps, state["row"], most)
        head = list(islice(marked, ahead))
        self._settle(state["now"])
        return chain(head, marked)

    def _settle(self, mark: Mapping[str, Any]) -> None:
        for position, own in zip(self._positions, mark["loaders"], strict=True):
            position.settle(own)
        restore_rng_state(mark["rng"])

    def _marked(self, steps: Iterator[Step], row: int, most: int | float) -> Iterator[Step]:
        """Notes the position before each step is fetched, and at the end."""
        if most < inf:
            steps = islice(steps, int(most))
        while True:
            self._marks.append(self._mark(row))
            step: Sequence[Step] = list(islice(steps, 1))
            if not step:
                break
            yield step[0]
            row += 1
        self._end = _End(is_exhausted=True, was_cut=self._is_limited)
        self._marks.append(self._mark(row))

    def _mark(self, row: int) -> dict[str, Any]:
        """Returns where everything stands after `row` batches; what it costs to save that is left to `_saved`."""
        if self._loaders.is_single:
            self._positions[0].taken = row
        loaders = [position.state_dict() for position in self._positions] if self._was_opened else None
        return {"row": row, "loaders": loaders, "rng": note_rng_state()}


def _saved(mark: dict[str, Any]) -> dict[str, Any]:
    return {**mark, "rng": mark["rng"]()}


@dataclass(frozen=True)
class _End:
    """How far an epoch is over."""

    is_exhausted: bool = False
    """Whether nothing is left to read, while the last batches are still being trained on."""
    is_over: bool = False
    was_cut: bool = False
    """Whether the loaders weren't at their own end then."""
