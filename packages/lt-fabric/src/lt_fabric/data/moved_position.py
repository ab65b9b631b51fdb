"""A data position that the ranks of one job saved, for the ranks of another.

The place is one in the samples of all ranks. The order that ranks share depends on the seed and the epoch alone, and
rank r has every W-th sample of it: so the first n batches of all W ranks together are the first n * W * batch size
samples of the order, and any other ranks can go on behind them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, inf
from typing import Any, Final

from lt_fabric.data.loader_shape import LoaderShape, is_drawn
from lt_interfaces.rng import rng_state_of_rank

State = Mapping[str, Any]


@dataclass(frozen=True)
class MovedPosition:
    """A place in the data, counted in the batches of this job."""

    state: State
    """For `DataPosition.load_state_dict`."""
    scale: Fraction
    """How many batches of this job are in one of the job that saved."""


def moved_position(
    states: Sequence[State], shapes: Sequence[LoaderShape], *, rank: int, world_size: int, num_batches: int | float
) -> MovedPosition:
    """Returns the position that a rank of this job takes over from those that the ranks of a job saved.

    Args:
        states: what `DataPosition.state_dict` returned, by rank.
        shapes: of this job's loaders.
        rank: this process's.
        world_size: processes of this job.
        num_batches: of this job's epoch on each rank.

    Raises:
        ValueError: there are more or fewer loaders than were saved; or no whole number of batches leads to the place.
    """
    saved = states[0]["loaders"]
    if saved is None:
        return MovedPosition(states[0], Fraction(1))
    refuse_other_loaders(len(saved), len(shapes))
    move = _Move(states, shapes, rank=rank, world_size=world_size)
    is_same = len(states) == world_size and move.scale == 1
    return MovedPosition(states[rank] if is_same else move.state(num_batches), move.scale)


class _Move:
    """From the ranks that saved to one of this job's."""

    def __init__(self, states: Sequence[State], shapes: Sequence[LoaderShape], *, rank: int, world_size: int) -> None:
        self._states: Final = states
        self._shapes: Final = shapes
        self._rank: Final = rank
        self._world_size: Final = world_size
        # A rank that has no state of its own takes rank 0's place, but not its random numbers.
        self._own: Final = states[rank] if rank < len(states) else states[0]
        self.scale: Final = self._scale(states[0]["loaders"])

    def state(self, num_batches: int | float) -> State:
        saved = self._states[0]
        row = self._moved(saved["row"], num_batches)
        mark = {
            "row": row,
            "loaders": [self._loader(index, row) for index in range(len(self._shapes))],
            "rng": rng_state_of_rank([state["rng"] for state in self._states], self._rank),
        }
        now = {**mark, "rng": rng_state_of_rank([state["now"]["rng"] for state in self._states], self._rank)}
        flags = {name: saved[name] for name in ("is_exhausted", "is_over", "was_cut")}
        return {**mark, **flags, "now": now}

    def _scale(self, saved: Sequence[State]) -> Fraction:
        scales = {
            Fraction(self._saved_size(own), (shape.batch_size or 1) * self._world_size)
            for own, shape in zip(saved, self._shapes, strict=True)
            if shape.is_loader and "batch_size" in own
        }
        if len(scales) > 1:
            message = (
                "The global batches of the training loaders differ from those of the checkpoint, each by another"
                " factor, so there's no place where all go on. Keep batch size x processes of each loader."
            )
            raise ValueError(message)
        return next(iter(scales), Fraction(1))

    def _saved_size(self, own: State) -> int:
        return (own["batch_size"] or 1) * len(self._states)

    def _moved(self, count: int, most: int | float) -> int:
        """Return how many of this job's batches come up to so many of that job's; the last may be smaller."""
        exact, saved = count * self.scale, self._states[0]
        if exact >= most or saved["is_exhausted"] or saved["is_over"]:
            return int(min(most, ceil(exact)))
        if exact.denominator > 1:
            self._refuse(count)
        return int(exact)

    def _refuse(self, count: int) -> None:
        saved = _global_batch(len(self._states), self._states[0]["loaders"][0]["batch_size"])
        own = _global_batch(self._world_size, self._shapes[0].batch_size)
        message = (
            f"The checkpoint was saved after {count} batches of an epoch, {saved} each; none of this run's, {own} each,"
            " ends there. Choose `devices` and"
            " `batch_size` so that their product is the saved one or divides it (`accumulate_grad_batches` makes up for"
            " a smaller one), or resume from the end of an epoch."
        )
        raise ValueError(message)

    def _loader(self, index: int, row: int) -> State:
        """Return the position of one loader."""
        shape, lead, own = self._shapes[index], self._states[0]["loaders"][index], self._own["loaders"][index]
        most = inf if shape.length is None else shape.length
        taken = row if len(self._shapes) == 1 else self._moved(lead["taken"], most)
        was_alone = len(self._states) == 1
        draws = is_drawn(lead) or (was_alone and lead.get("order") is None)
        kind, source = self._source(shape, own, taken)
        return {
            "taken": taken,
            "ended": lead["ended"],
            "start": lead["start"] if draws else own["start"],
            "generators": own["generators"],
            "kind": kind,
            "source": source,
            "order": {"is_drawn": draws},
        }

    def _source(self, shape: LoaderShape, own: State, taken: int) -> tuple[str | None, Any]:
        """Return what the loader's kind needs; what's unknown is read again."""
        source = own["source"]
        if own["kind"] == "sampler":
            is_done = self._states[0]["is_exhausted"] or self._states[0]["is_over"]
            sampler_state = source["indices"]["sampler_state"] if is_done else None
            # What was drawn ahead are this rank's samples only among as many ranks: it's drawn again.
            indices: dict[str, Any] = {"drawn": taken, "pending": [], "sampler_state": sampler_state}
            return "sampler", {"indices": indices, "passes": source["passes"]}
        if own["kind"] == "dataset":
            return _moved_stream(source, shape)
        return None, None


def refuse_other_loaders(saved: int, found: int) -> None:
    """Refuse to go on with more or fewer loaders than were saved."""
    if saved != found:
        message = (
            f"The saved data position is that of {saved} loaders, but there are {found}. Resume with the loaders that"
            " the run was saved with."
        )
        raise ValueError(message)


def _global_batch(ranks: int, batch_size: int | None) -> str:
    size = batch_size or 1
    return f"{ranks * size} samples ({ranks} process{'es' if ranks > 1 else ''} x `batch_size={size}`)"


def _moved_stream(source: Any, shape: LoaderShape) -> tuple[str | None, Any]:
    """Return the state of a dataset, which stands at one place for all ranks that share it."""
    is_shared = isinstance(source, dict) and set(source) == {"dataset", "is_at_end"}
    if is_shared == shape.shares_dataset:
        return "dataset", source
    if shape.shares_dataset:
        return "dataset", {"dataset": source, "is_at_end": False}
    return ("dataset", source["dataset"]) if not source["is_at_end"] else (None, None)
