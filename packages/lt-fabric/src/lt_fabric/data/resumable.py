"""A loader whose place in an epoch is saved with the rest of a loop's state."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lt_fabric.data.combined_loader import CombinedLoader
from lt_fabric.data.fabric_loader import unwrap_loader
from lt_fabric.data.fetching import batches
from lt_fabric.data.loader_shape import order_seed
from lt_fabric.data.position import DataPosition
from lt_fabric.data.samplers import following, set_epoch
from lt_fabric.data.stateful import RANKS
from lt_interfaces.moving import move_data_to_device
from lt_interfaces.rank_zero import global_rank
from lt_interfaces.rng import capture_rng_state, restore_rng_state, rng_state_of_rank


class ResumableLoader:
    """A loader for your own loop that `Fabric.save` and `Fabric.load` take from any batch to the next one, exactly.

    Put it into the state beside the model. A new process then reads what's left of the epoch: the order, the random
    generators (python's, numpy's, torch's, its devices' and the loader's own) and what follows are those of a run that
    wasn't interrupted. Samplers and seeded items hear which epoch begins.

    - Each `for` reads what's left of the epoch, usually all of it; once it has come to its end, the next epoch is due.
      A loop that's left by `break` or an exception leaves the epoch open: the next `for` goes on with the next batch.
    - Save at the end of the loop's body: the batch that's being worked on counts as done. Gradients aren't saved, so
      when you accumulate them, save where a window ends.
    - Load right before the loop; generators are restored then, and within an epoch once more when the `for` begins. A
      `for` that's running while a state is loaded ends, since the next batch is another one now.
    - What workers draw at random goes on exactly only with `lt_fabric.data.with_seeded_items`.
    - `Fabric.save` writes the state of every rank, and each takes its own. Another number of ranks, or batches of
      another size, go on with the sample after those that all ranks have seen together; the random numbers are others.

    Args:
        loader: what `Fabric.setup_dataloaders` returned, or any loader. One that can't be positioned (an iterable
            dataset without `state_dict`) is read again up to the batch, with a warning.

    Raises:
        TypeError: `loader` is several loaders; give each one of these, and iterate them with `zip`.

    Example:
        >>> import tempfile
        >>> from torch.utils.data import DataLoader
        >>> from lt_fabric import Fabric
        >>> fabric, path = Fabric(accelerator="cpu"), tempfile.mkdtemp() + "/last.ckpt"
        >>> seen = []
        >>> data = ResumableLoader(fabric.setup_dataloaders(DataLoader(range(6), shuffle=True)))
        >>> while data.epoch < 2:
        ...     for batch in data:
        ...         seen.append(batch)
        ...         if len(seen) == 8:
        ...             fabric.save(path, {"data": data})
        >>> resumed = ResumableLoader(fabric.setup_dataloaders(DataLoader(range(6), shuffle=True)))
        >>> _ = fabric.load(path, {"data": resumed})
        >>> resumed.epoch, resumed.batches_done
        (1, 2)
        >>> list(resumed) == seen[8:]
        True
    """

    def __init__(self, loader: Any) -> None:
        _refuse_several(loader)
        self._loader, self._device = unwrap_loader(loader)
        self._position = self._before_all()
        self._steps: Iterator[tuple[Any, ...]] | None = None
        self._epoch = 0
        self._batches_done = 0

    @property
    def epoch(self) -> int:
        """The epoch that's being read, or is due: how many came to their end."""
        return self._epoch

    @property
    def batches_done(self) -> int:
        """Batches of this epoch that were given to the loop, the one that it's working on included."""
        return self._batches_done

    def __len__(self) -> int:
        """Returns the number of batches in a whole epoch."""
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        """Opens the loader, workers included, unless an open epoch goes on."""
        if self._steps is None:
            self._steps = self._opened()
        return self._remaining(self._steps)

    def end_epoch(self) -> None:
        """Leaves what's left of the epoch, so that the next one is due; a `for` that's running ends.

        For epochs that are shorter than the loader. After the last batch the epoch ends by itself, and once it has
        ended there's nothing to leave.
        """
        if self._batches_done:
            iter(self)  # one that was loaded must be open to be left
            self._begin_next_epoch(is_exhausted=False)

    def state_dict(self) -> dict[str, Any]:
        """Returns the place after the batches that were given, and the state of all random generators."""
        return {
            "epoch": self._epoch,
            "batches_done": self._batches_done,
            "rank": global_rank(),
            "rng": capture_rng_state(),
            "position": self._position.state_dict(self._batches_done),
        }

    def load_rank_states(self, states: Sequence[Mapping[str, Any]], *, rank: int, world_size: int) -> None:
        """Takes back what `state_dict` returned on each rank of the job that saved; `Fabric.load` calls it.

        Args:
            states: by rank.
            rank: this process's.
            world_size: processes of this job.

        Raises:
            ValueError: the loader's random generators aren't those that were saved, or no whole number of batches leads
                to the saved place.
        """
        places = [state["position"] for state in states]
        (self._loader,) = following([self._loader], [order_seed(own) for own in places[0]["loaders"] or ()])
        position = self._before_all()
        place = position.moved(places, rank=rank, world_size=world_size).state
        position.load_state_dict(place)
        restore_rng_state(rng_state_of_rank([state["rng"] for state in states], rank))
        self._position, self._steps = position, None
        self._epoch = states[0]["epoch"]
        self._batches_done = place["row"] if states[0]["batches_done"] else 0

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state_dict` returned on this rank, or what `Fabric.save` wrote with as many processes.

        Raises:
            ValueError: the loader's random generators aren't those that were saved.
        """
        if RANKS in state:
            self.load_rank_states(state[RANKS], rank=global_rank(), world_size=len(state[RANKS]))
            return
        position = self._before_all()
        # The indices and generators of another rank would repeat its samples and its dropout on this one.
        if global_rank() in (0, state["rank"]):
            position.load_state_dict(state["position"])
            restore_rng_state(state["rng"])
        elif state["batches_done"]:
            position.skip(state["batches_done"])
        self._position, self._steps = position, None
        self._epoch, self._batches_done = state["epoch"], state["batches_done"]

    def _before_all(self) -> DataPosition:
        return DataPosition(CombinedLoader(self._loader))

    def _opened(self) -> Iterator[tuple[Any, ...]]:
        set_epoch(self._loader, self._epoch)
        ahead = self._position.batches_ahead
        steps = self._position.steps(ahead)
        return batches(steps) if ahead else steps

    def _remaining(self, steps: Iterator[tuple[Any, ...]]) -> Iterator[Any]:
        while steps is self._steps:
            step = self._next(steps)
            if step is None:
                self._begin_next_epoch(is_exhausted=True)
                return
            batch, batch_idx, *_ = step
            self._batches_done = batch_idx + 1
            yield batch if self._device is None else move_data_to_device(batch, self._device)

    def _next(self, steps: Iterator[tuple[Any, ...]]) -> tuple[Any, ...] | None:
        try:
            return next(steps, None)
        except Exception:
            self.load_state_dict(self.state_dict())  # a batch that couldn't be read comes again with the next `for`
            raise

    def _begin_next_epoch(self, *, is_exhausted: bool) -> None:
        self._position.end_epoch(is_exhausted=is_exhausted)
        self._steps = None
        self._epoch += 1
        self._batches_done = 0


def _refuse_several(loader: Any) -> None:
    if isinstance(loader, CombinedLoader | list | tuple | dict):
        message = (
            f"`loader` must be one loader, not a {type(loader).__name__}: give each loader a ResumableLoader of its own"
            " and iterate them with `zip`."
        )
        raise TypeError(message)
