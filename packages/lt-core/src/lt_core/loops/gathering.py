"""Predictions of all ranks on every rank, as one process would have returned them."""

from collections.abc import Sequence
from typing import Any

from lt_core.loops.sample_order import in_sample_order, interleaved
from lt_core.run.loaders import StageLoaders
from lt_fabric.data.shared_order import data_share
from lt_fabric.data.shares import OrderedShare, ordered_share
from lt_fabric.gathering import gather_objects
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.strategy import Strategy


class PredictionGathering:
    """Notes how many samples each batch had, and gathers the outputs afterwards.

    Args:
        loaders: those to predict from, loaded.

    Raises:
        MisconfigurationException: for loaders whose order over all ranks nobody knows.
    """

    def __init__(self, loaders: StageLoaders) -> None:
        assert loaders.combined is not None  # loaded before
        if loaders.rules.hands_over:
            message = "`predict(gather=True)` can't tell the batches of a `predict_step` that takes `dataloader_iter`."
            raise MisconfigurationException(message)
        self._shares = [_require_order(loader) for loader in loaders.combined.flattened]
        self._sizes: list[list[int]] = [[] for _ in self._shares]

    def note(self, batch: object, batch_idx: int, loader_idx: int) -> None:
        """Note a batch before it's predicted from."""
        self._sizes[loader_idx].append(self._shares[loader_idx].size_of(batch, batch_idx))

    def gathered(self, outputs: Sequence[list[Any]], strategy: Strategy) -> list[list[Any]]:
        """Return the outputs of all ranks for each loader, in the order of its samples. Collective.

        Raises:
            MisconfigurationException: for outputs without an entry per sample.
            TypeError: for outputs that hold something that can't be sent.
        """
        share = data_share(strategy)
        everything = gather_objects(strategy, [share.index, list(zip(outputs, self._sizes, strict=True))])
        by_share = dict(reversed(everything))  # ranks that have the same share predicted the same
        by_rank = [by_share[index] for index in range(share.count)]
        return [
            _ordered([of_rank[idx] for of_rank in by_rank], share.batch_size) for idx, share in enumerate(self._shares)
        ]


def _require_order(loader: Any) -> OrderedShare:
    share = ordered_share(loader)
    if share is None:
        message = (
            f"`predict(gather=True)` doesn't know in which order ranks read a {type(loader).__name__} that the Trainer"
            " didn't share out over them by sample index: that takes a DataLoader without a distributed sampler or a"
            " batch sampler of its own, whose workers (of an iterable dataset) all see the same samples, and"
            " `use_distributed_sampler=True`. Leave out `gather` and take each rank's own outputs."
        )
        raise MisconfigurationException(message)
    return share


def _ordered(by_rank: Sequence[tuple[list[Any], list[int]]], batch_size: int | None) -> list[Any]:
    outputs, sizes = [outputs for outputs, _ in by_rank], [sizes for _, sizes in by_rank]
    return interleaved(outputs) if batch_size is None else in_sample_order(outputs, sizes, batch_size)
