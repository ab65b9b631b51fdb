"""How a loader cuts its samples into batches, and shares them out over ranks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader

from lt_fabric.data.iterable_sharing import StatefulSharedIterable
from lt_fabric.data.lengths import has_iterable_dataset, sized_len
from lt_fabric.data.samplers import item_sampler
from lt_fabric.data.shared_order import ShardedSampler, SharedOrder, order_of


@dataclass(frozen=True)
class LoaderShape:
    """What tells where a loader of one rank stands in the samples of all ranks."""

    batch_size: int | None
    """Samples of a batch; ``None`` where nobody knows."""
    is_loader: bool
    """Whether it's torch's: then ranks share its samples, and don't each see all."""
    sampler: object
    """What decides the order of the samples, where something does."""
    length: int | None
    """Batches of a pass."""
    shares_dataset: bool
    """Whether its dataset is a stream that ranks share and that saves its place."""

    @classmethod
    def of(cls, loader: Any) -> "LoaderShape":
        """Return what's to be known of a loader."""
        is_loader = isinstance(loader, DataLoader)
        return cls(
            batch_size=_batch_size_of(loader) if is_loader else None,
            is_loader=is_loader,
            sampler=item_sampler(loader) if is_loader and not has_iterable_dataset(loader) else None,
            length=sized_len(loader),
            shares_dataset=isinstance(getattr(loader, "dataset", None), StatefulSharedIterable),
        )

    def state_dict(self, *, is_drawn: bool) -> dict[str, Any]:
        """Return what another job must know; `is_drawn`: the current pass shares out what one process drew."""
        order = order_of(self.sampler)
        return {
            "batch_size": self.batch_size,
            "order": None if order is None else {**order, "is_drawn": is_drawn},
        }

    def draw_next(self) -> bool:
        """Let the next pass share out what one process would draw; returns whether ranks share an order here at all."""
        if not isinstance(self.sampler, SharedOrder | ShardedSampler):
            return False
        self.sampler.draw_next()
        return True


def is_drawn(state: Mapping[str, Any]) -> bool:
    """Say whether the saved pass of a loader shares out what one process has drawn."""
    order = state.get("order")
    return order is not None and bool(order["is_drawn"])


def order_seed(state: Mapping[str, Any]) -> int | None:
    """Return the seed of the order that a saved loader shared; ``None`` where the order was its own."""
    order = state.get("order")
    return None if order is None else order.get("seed")


def _batch_size_of(loader: DataLoader[Any]) -> int | None:
    if loader.batch_size is not None:
        return loader.batch_size
    size = getattr(loader.batch_sampler, "batch_size", None)
    return size if isinstance(size, int) else None
