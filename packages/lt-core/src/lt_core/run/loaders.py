"""Loaders of a stage: asked for when the stage needs them, prepared for this rank, and counted."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from math import inf
from typing import Any

import torch
from torch.utils.data import DataLoader

from lt_core.hook_plan import overrides
from lt_core.run.handing_over import handed_over
from lt_fabric.data import (
    CombinedLoader,
    batches,
    dropping_nothing,
    following,
    num_batches,
    require_iterable,
    set_epoch,
    sized_len,
    warn_if_few_workers,
    warn_if_length_is_guessed,
    warn_if_shuffled,
    with_distributed_sampler,
    with_shared_iterable,
    without_shuffle,
)
from lt_fabric.data.combined_loader import Step
from lt_fabric.data.fetching import MarkedStep
from lt_fabric.data.item_seeding import item_seed, with_seeded_items
from lt_fabric.data.shared_order import data_share
from lt_fabric.data.workers import seed_workers
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.strategy import Capability, Strategy


@dataclass(frozen=True)
class LoaderSource:
    """Where the loaders of a stage come from: an object the user passed, or a hook of the datamodule or module."""

    stage: str
    """"train", "val", "test" or "predict"."""
    owner: Any
    """The datamodule or module whose hook is asked, or the object passed."""
    is_hook: bool

    @property
    def is_defined(self) -> bool:
        """Whether there's anything to ask."""
        return overrides(self.owner, f"{self.stage}_dataloader") if self.is_hook else self.owner is not None

    @property
    def label(self) -> str:
        """Where the loaders come from, for messages."""
        if self.is_hook:
            return f"`{type(self.owner).__name__}.{self.stage}_dataloader()`"
        return (
            f"the `{self.stage}_dataloaders` passed" if self.stage in ("train", "val") else "the `dataloaders` passed"
        )

    def request(self) -> Any:
        """Ask for the loaders."""
        return getattr(self.owner, f"{self.stage}_dataloader")() if self.is_hook else self.owner


@dataclass(frozen=True)
class LoaderRules:
    """What the specs say about the loaders of one stage."""

    stage: str
    mode: str
    limit: int | float
    overfit: bool
    use_distributed_sampler: bool
    reload_every_n_epochs: int
    seed_items: bool | int
    """Whether each item's randomness is its own, or the seed for that."""
    hands_over: bool
    """Whether the step takes batches itself: it gets the iterator in a batch's place."""


@dataclass
class StageLoaders:
    """The loaders of one stage, loaded when first needed."""

    source: LoaderSource
    rules: LoaderRules
    combined: CombinedLoader | None = None
    raw: Any = None
    """What the source returned, in its own structure."""
    counts: list[int | float] = field(default_factory=list)
    """Batches of each loader on this rank, limits applied."""
    loaded_in_epoch: int | None = None
    order_seeds: Sequence[int | None] = ()
    """The seed of each training loader's order that the resumed run has had; ``None`` for an order of its own."""
    everywhere: list[int | None] = field(default_factory=list)
    """Batches of each evaluated loader that all of several ranks have; ``None`` where one doesn't know."""

    @property
    def is_loaded(self) -> bool:
        """Whether the source was asked."""
        return self.combined is not None

    @property
    def item_seed(self) -> int | None:
        """The seed of each item's randomness; ``None`` where items aren't seeded."""
        return None if self.rules.seed_items is False else item_seed(self.rules.seed_items)

    def keep_item_seed(self, seed: int | None) -> None:
        """Use the seed of the run that's resumed, where none was given as a number."""
        if seed is not None and self.rules.seed_items is True:
            self.rules = replace(self.rules, seed_items=seed)

    def is_stale(self, epoch: int) -> bool:
        """Whether the loaders must be asked for again in this epoch."""
        every = self.rules.reload_every_n_epochs
        if self.loaded_in_epoch is None:
            return True
        return every > 0 and epoch - self.loaded_in_epoch >= every

    def load(self, strategy: Strategy, epoch: int) -> None:
        """Ask for the loaders, give each rank its share, and count."""
        self.raw = self.source.request()
        self.combined = self._combine(self.raw)
        if self.combined.mode != "sequential" and self.rules.stage == "predict":
            message = f"A CombinedLoader for `predict` must have `mode='sequential'`, not {self.combined.mode!r}."
            raise ValueError(message)
        if self.rules.mode != "sequential" and self.combined.mode == "sequential":
            modes = "'min_size', 'max_size' or 'max_size_cycle'"
            message = f"A CombinedLoader for training can't have `mode='sequential'`; use {modes}."
            raise ValueError(message)
        prepared = [self._prepared(loader, strategy) for loader in self.combined.flattened]
        self.combined.flattened = following(prepared, self.order_seeds)
        self.counts = self._count(self.combined, strategy)
        self.loaded_in_epoch = epoch

    def _combine(self, raw: Any) -> CombinedLoader:
        if isinstance(raw, CombinedLoader):
            return raw
        if raw is None:
            require_iterable(raw, self.source.label)
        return CombinedLoader(raw, self.rules.mode)

    def _prepared(self, loader: Any, strategy: Strategy) -> Any:
        require_iterable(loader, self.source.label)
        stage, training = self.rules.stage, self.rules.stage == "train"
        if self.rules.overfit:
            loader = without_shuffle(loader)
        if stage == "predict":
            loader = dropping_nothing(loader)  # a prediction for each sample is what was asked for
        if not training and stage != "predict":
            warn_if_shuffled(loader, stage)
        warn_if_few_workers(loader, stage)
        shares = strategy.distributed_sampler_kwargs
        if shares is not None and self.rules.use_distributed_sampler and isinstance(loader, DataLoader):
            seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))
            loader = with_distributed_sampler(
                loader, num_replicas=shares["num_replicas"], rank=shares["rank"], seed=seed, each_once=not training
            )
            loader = with_shared_iterable(
                loader, num_replicas=shares["num_replicas"], rank=shares["rank"], each_once=not training
            )
        if not training and not strategy.supports(Capability.UNEVEN_EVALUATION):
            # Loaded where it's needed: `import lt_core` keeps within its budget of modules.
            from lt_fabric.data.equal_batches import in_equally_many_batches

            loader = in_equally_many_batches(loader, stage)
        warn_if_length_is_guessed(loader, stage)
        seed_workers(loader, data_share(strategy).index)  # ranks that have the same samples draw the same
        if self.item_seed is not None:
            loader = with_seeded_items(loader, self.item_seed)
        return strategy.setup_dataloader(loader)

    def _count(self, combined: CombinedLoader, strategy: Strategy) -> list[int | float]:
        stage, limit = self.rules.stage, self.rules.limit
        if self.rules.mode != "sequential":
            total = combined.num_batches
            whole = _Sized(int(total)) if total != inf else object()
            return [num_batches(whole, limit, stage=stage)]
        lengths = _lengths_on_ranks(combined.flattened, strategy)
        counted = [
            _counted(loader, limit, stage=stage, lengths=of_ranks)
            for loader, of_ranks in zip(combined.flattened, lengths, strict=True)
        ]
        self.everywhere = [everywhere for _, everywhere in counted]
        if strategy.world_size > 1 and not strategy.supports(Capability.UNEVEN_EVALUATION):
            _require_equal(self.everywhere, lengths, limit=limit, stage=stage)
        combined.limits = counts = [count for count, _ in counted]
        if combined.mode == "sequential":
            return counts
        rows = _rows_on_ranks(combined.num_batches, strategy)  # several loaders read side by side, as one
        self.everywhere = [min(rows) if min(rows) >= 0 else None]
        return [combined.num_batches]

    @property
    def is_sized(self) -> bool:
        """Whether every loader knows its length."""
        return self.combined is not None and self.combined.is_sized

    @property
    def total(self) -> int | float:
        """Batches of all loaders."""
        return sum(self.counts)

    def set_epoch(self, epoch: int) -> None:
        """Tell the samplers which epoch begins."""
        for loader in self.combined.flattened if self.combined is not None else ():
            set_epoch(loader, epoch)

    @property
    def is_limited(self) -> bool:
        """Whether an epoch ends before the loaders do."""
        assert self.combined is not None  # `load` comes first
        return self.total < self.combined.num_batches

    def steps(self) -> Iterator[MarkedStep]:
        """Start the loaders and return their batches, each marked whether it's the last."""
        assert self.combined is not None  # `load` comes first
        # iter() here starts worker processes now, and not when the first batch is asked for.
        return self.marked(iter(self.combined))

    def marked(self, steps: Iterator[Step], *, row: int = 0) -> Iterator[MarkedStep]:
        """Return the batches of a pass, each marked whether it's the last, in the way that the step takes them.

        Args:
            steps: what's left of the pass.
            row: how many batches came before.
        """
        left = self.total - row
        if left < 1:
            return iter(()) if self.is_limited else _ending(steps)
        if self.is_limited and self.is_sized:
            steps = islice(steps, int(left))  # a limit that cuts something off reads no batch beyond it
        return self.given(batches(steps, left, look_ahead=not self.is_sized), row)

    def given(self, steps: Iterator[MarkedStep], row: int = 0) -> Iterator[MarkedStep]:
        """Return the batches in the way that the step takes them."""
        return handed_over(steps, row) if self.rules.hands_over else steps


def _lengths_on_ranks(loaders: Sequence[Any], strategy: Strategy) -> list[list[int]]:
    """Return for each loader its length on each rank, -1 where it has none. Collective with several ranks."""
    lengths = [-1 if (length := sized_len(loader)) is None else length for loader in loaders]
    if strategy.world_size == 1:
        return [[length] for length in lengths]
    own = torch.tensor(lengths, dtype=torch.int64, device=strategy.root_device)
    by_loader: list[list[int]] = strategy.all_gather(own).T.tolist()
    return by_loader


def _rows_on_ranks(rows: int | float, strategy: Strategy) -> list[int]:
    """Return how many rows loaders have that are read side by side, on each rank; -1 where nobody knows. Collective."""
    known = -1 if rows == inf else int(rows)
    if strategy.world_size == 1:
        return [known]
    own = torch.tensor([known], dtype=torch.int64, device=strategy.root_device)
    on_ranks: list[int] = strategy.all_gather(own).flatten().tolist()
    return on_ranks


def _counted(loader: Any, limit: int | float, *, stage: str, lengths: Sequence[int]) -> tuple[int | float, int | None]:
    """Return the batches of a loader on this rank, and how many every rank has; ``None`` where nobody knows that.

    A limit allows the same number on every rank: a fraction is one of the longest share.
    """
    if min(lengths) < 0:
        return num_batches(loader, limit, stage=stage), None
    allowed = num_batches(_Sized(max(lengths)), limit, stage=stage)
    return min(allowed, len(loader)), int(min(allowed, *lengths))


def _require_equal(
    everywhere: Sequence[int | None], lengths: Sequence[Sequence[int]], *, limit: int | float, stage: str
) -> None:
    """Refuse loaders of which ranks have different numbers of batches, where they compute each one together.

    Raises:
        MisconfigurationException: on all ranks.
    """
    for index, (count, of_ranks) in enumerate(zip(everywhere, lengths, strict=True)):
        if count is None and not isinstance(limit, int):
            message = (
                f"The {stage} loader {index} has no length, so ranks can't know whether they have equally many batches,"
                " which they compute together. Give the dataset a length, or set"
                f" `limit_{stage}_batches` to a number of batches that every rank has."
            )
            raise MisconfigurationException(message)
        if count is not None and min(max(of_ranks), limit if isinstance(limit, int) else inf) > count:
            message = (
                f"Ranks have {list(of_ranks)} batches in the {stage} loader {index}, but compute each batch together."
                " Let its sampler give every rank equally many, or leave `use_distributed_sampler=True`."
            )
            raise MisconfigurationException(message)


def _ending(steps: Iterator[Any]) -> Iterator[Any]:
    """Give nothing, and let the loaders come to their end, where some do their end-of-epoch work."""
    next(steps, None)
    yield from ()


class _Sized:
    """Stands for loaders of which only the combined length counts."""

    def __init__(self, length: int) -> None:
        self._length = length

    def __len__(self) -> int:
        return self._length


def require_training_data(loaders: StageLoaders) -> None:
    """Refuse to fit without training data."""
    if not loaders.source.is_defined:
        message = (
            "`Trainer.fit()` needs training data: pass `train_dataloaders` or a `datamodule`, or define"
            " `train_dataloader()` in the module."
        )
        raise MisconfigurationException(message)
