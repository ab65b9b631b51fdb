"""Loaders of a stage: asked for when the stage needs them, prepared for this rank, and counted."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count, islice, repeat
from math import inf
from typing import Any

from torch.utils.data import DataLoader

from lt_core.hook_plan import overrides
from lt_core.run.handing_over import handed_over
from lt_fabric.data import (
    CombinedLoader,
    DataPosition,
    batches,
    item_seed,
    num_batches,
    require_iterable,
    set_epoch,
    skip_batches,
    warn_if_few_workers,
    warn_if_length_is_guessed,
    warn_if_shuffled,
    with_distributed_sampler,
    with_seeded_items,
    without_shuffle,
)
from lt_fabric.data.fetching import MarkedStep
from lt_fabric.data.workers import seed_workers
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.rng import capture_rng_state, restore_rng_state
from lt_interfaces.strategy import Strategy


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
    hands_over: bool
    """Whether the step takes batches itself: it gets the iterator in a batch's place."""
    seed_items: bool | int = False
    """Whether each item is seeded, with the run's seed or this one."""


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

    @property
    def is_loaded(self) -> bool:
        """Whether the source was asked."""
        return self.combined is not None

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
        if self.combined.mode != "sequential" and self.rules.mode == "sequential":
            message = (
                f"A CombinedLoader for `{self.rules.stage}` must have `mode='sequential'`, not {self.combined.mode!r}."
            )
            raise ValueError(message)
        if self.rules.mode != "sequential" and self.combined.mode == "sequential":
            modes = "'min_size', 'max_size' or 'max_size_cycle'"
            message = f"A CombinedLoader for training can't have `mode='sequential'`; use {modes}."
            raise ValueError(message)
        self.combined.flattened = [self._prepared(loader, strategy) for loader in self.combined.flattened]
        self.counts = self._count(self.combined)
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
        if not training and stage != "predict":
            warn_if_shuffled(loader, stage)
        warn_if_few_workers(loader, stage)
        warn_if_length_is_guessed(loader, stage)
        shares = strategy.distributed_sampler_kwargs
        if shares is not None and self.rules.use_distributed_sampler and isinstance(loader, DataLoader):
            seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))
            loader = with_distributed_sampler(
                loader, num_replicas=shares["num_replicas"], rank=shares["rank"], seed=seed, each_once=not training
            )
        if self.rules.seed_items is not False:
            loader = with_seeded_items(loader, item_seed(self.rules.seed_items))
        seed_workers(loader, strategy.global_rank)
        return strategy.setup_dataloader(loader)

    def _count(self, combined: CombinedLoader) -> list[int | float]:
        stage, limit = self.rules.stage, self.rules.limit
        if self.rules.mode == "sequential":
            counts = [num_batches(loader, limit, stage=stage) for loader in combined.flattened]
            combined.limits = counts
            return counts
        total = combined.num_batches
        whole = _Sized(int(total)) if total != inf else object()
        return [num_batches(whole, limit, stage=stage)]

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

    def steps(self) -> Iterator[MarkedStep]:
        """Start the loaders and return their batches, each marked whether it's the last."""
        assert self.combined is not None  # `load` comes first
        # iter() here starts worker processes now, and not when the first batch is asked for.
        started: Iterator[Any] = iter(self.combined)
        if self.total < self.combined.num_batches < inf:
            started = islice(started, int(self.total))  # a limit that cuts something off reads no batch beyond it
        return self._given(batches(started, self.total, look_ahead=not self.combined.is_sized))

    def steps_after(self, done: int) -> Iterator[MarkedStep]:
        """Start the loaders after their first batches; a single map-style loader reads none of those."""
        assert self.combined is not None  # `load` comes first
        loaders = self.combined.flattened
        rest: Iterator[Any]
        if len(loaders) == 1 and self.combined.iterables is loaders[0]:
            rest = zip(skip_batches(loaders[0], done), count(done), repeat(0), strict=False)
        else:
            rest = islice(iter(self.combined), done, None)
        return self._given(batches(rest, self.total - done, look_ahead=not self.combined.is_sized))

    def _given(self, steps: Iterator[MarkedStep]) -> Iterator[MarkedStep]:
        """Return the batches in the way that the step takes them."""
        return handed_over(steps) if self.rules.hands_over else steps


class TrainData:
    """The training loaders and how far they have been read."""

    def __init__(self, loaders: StageLoaders) -> None:
        self.loaders = loaders
        self.position = DataPosition()
        self._steps: Iterator[MarkedStep] | None = None
        self._epoch_rng: dict[str, Any] | None = None
        self._resumed_rng: dict[str, Any] | None = None

    @property
    def num_batches(self) -> int | float:
        """Batches per epoch; infinite before they're loaded and when unknown."""
        return self.loaders.total if self.loaders.is_loaded else inf

    @property
    def is_resumed(self) -> bool:
        """Whether the coming epoch begins where a checkpoint stood."""
        return self._resumed_rng is not None

    def start(self) -> None:
        """Start the loaders, workers included, for the coming epoch."""
        self._epoch_rng = capture_rng_state()
        self._steps = self.loaders.steps()

    def rewind_rng(self, done: int) -> None:
        """Give the random generators the state in which the coming epoch's order is drawn, if that was saved.

        Args:
            done: batches of the epoch that were trained on before the checkpoint.
        """
        if self._resumed_rng is not None:
            is_within = 0 < done < self.num_batches
            restore_rng_state(self._epoch_rng if is_within and self._epoch_rng is not None else self._resumed_rng)
            self._resumed_rng = None

    def remaining_steps(self, done: int) -> Iterator[MarkedStep]:
        """Return the batches of the epoch after the first ``done``; started now unless `start` was called before."""
        steps, self._steps = self._steps, None
        if steps is not None:
            return steps
        if done >= self.num_batches:
            return iter(())  # starting the loaders would draw from the random generators
        if done:
            return self.loaders.steps_after(done)
        self._epoch_rng = capture_rng_state()
        return self.loaders.steps()

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the data and the random state in which the epoch's order was drawn."""
        if self.loaders.combined is not None:
            self.position.capture(self.loaders.combined)
        return {"position": self.position.state_dict(), "epoch_rng": self._epoch_rng}

    def load_state_dict(self, state: Mapping[str, Any], rng: dict[str, Any]) -> None:
        """Take back what `state_dict` returned, and the random state at the time of saving."""
        self.position.load_state_dict(dict(state["position"]))
        self._epoch_rng = state["epoch_rng"]
        self._resumed_rng = rng


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
