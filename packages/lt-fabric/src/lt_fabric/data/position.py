"""Where the training data stands, and how to get back there."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any, Final

from torch.utils.data import DataLoader

from lt_fabric.data.combined_loader import CombinedLoader
from lt_fabric.data.lengths import has_iterable_dataset
from lt_fabric.data.samplers import with_batch_sampler, with_sampler
from lt_interfaces.rank_zero import rank_zero_warn


@dataclass
class DataPosition:
    """Where the training data stands: the epoch, the batches drawn in it, and the states of stateful loaders.

    The loop that draws the batches keeps it; a checkpoint holds its `state_dict`.
    """

    epoch: int = 0
    batches_in_epoch: int = 0
    # What a loader puts in its state is its own affair.
    loader_states: list[dict[str, Any]] = field(default_factory=list)

    def start_epoch(self, epoch: int) -> None:
        """Stands before the first batch of `epoch`."""
        self.epoch = epoch
        self.batches_in_epoch = 0

    def capture(self, loader: CombinedLoader) -> None:
        """Takes over the states of the loaders that have one; call it just before `state_dict`."""
        self.loader_states = loader.state_dicts()

    def restore(self, loader: CombinedLoader) -> None:
        """Gives the loaders their states back, if any were saved; call it before `iter(loader)`.

        Raises:
            RuntimeError: the number of stateful loaders isn't the one that was saved.
        """
        if self.loader_states:
            loader.load_state_dicts(self.loader_states)

    def state_dict(self) -> dict[str, Any]:
        """Returns the position as plain data."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over a position written by `state_dict`."""
        self.epoch = state["epoch"]
        self.batches_in_epoch = state["batches_in_epoch"]
        self.loader_states = list(state["loader_states"])


class _Remaining:
    """The indices of a sampler, or batches of indices of a batch sampler, after the first `skipped`."""

    def __init__(self, indices: Iterable[Any], skipped: int) -> None:
        self.indices: Final = indices
        self.skipped: Final = skipped

    def __iter__(self) -> Iterator[Any]:
        return islice(iter(self.indices), self.skipped, None)

    def __len__(self) -> int:
        return max(len(self.indices) - self.skipped, 0)  # type: ignore[arg-type]  # as torch's samplers: may have none


def skip_batches(loader: Iterable[Any], count: int) -> Iterator[Any]:
    """Starts `loader` after its first `count` batches and returns the iterator over the rest.

    A map-style `DataLoader` reads none of the skipped samples: only its sampler is advanced, drawing from the
    same random generators as plain iteration does, so the same batches follow. Any other loader has to read them, with
    a warning.

    Example:
        >>> [batch.tolist() for batch in skip_batches(DataLoader(range(5), batch_size=2), 1)]
        [[2, 3], [4]]
    """
    if count == 0:
        return iter(loader)
    if isinstance(loader, DataLoader) and not has_iterable_dataset(loader):
        return iter(_advanced(loader, count))
    rank_zero_warn(
        f"Going on after batch {count} of a {type(loader).__name__} means reading what was seen before, as it can't "
        f"be positioned. A map-style DataLoader can, and so can a loader with `state_dict` and `load_state_dict`."
    )
    iterator = iter(loader)
    return islice(iterator, count, None)


def _advanced(loader: DataLoader[Any], count: int) -> DataLoader[Any]:
    if loader.batch_sampler is None:
        return with_sampler(loader, _Remaining(loader.sampler, count))
    return with_batch_sampler(loader, _Remaining(loader.batch_sampler, count))
