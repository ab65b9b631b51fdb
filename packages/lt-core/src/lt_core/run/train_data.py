"""The training data of a run: its loaders, where they stand, and where a checkpoint stood."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from lt_core.run.loaders import StageLoaders
from lt_core.run.uneven_data import EqualSteps, UnevenData
from lt_fabric.data import DataPosition, batches, following, order_seed
from lt_fabric.data.fetching import MarkedStep
from lt_fabric.data.shared_order import data_share
from lt_interfaces.progress import FitProgress
from lt_interfaces.rng import restore_rng_state
from lt_interfaces.strategy import Strategy


class TrainData:
    """The training loaders and how far they have been read."""

    def __init__(self, loaders: StageLoaders, uneven_data: UnevenData = "stop") -> None:
        self._uneven_data: UnevenData = uneven_data
        self.loaders = loaders
        self._position: DataPosition | None = None
        self._steps: Iterator[MarkedStep] | None = None
        self._resumed: _Resumed | None = None
        self.pads = False
        """Whether some batches of this epoch may only pad, since other ranks have more."""
        self._equal: EqualSteps | None = None

    @property
    def num_batches(self) -> int | float:
        """Batches per epoch; infinite before they're loaded and when unknown."""
        return self.loaders.total if self.loaders.is_loaded else inf

    @property
    def is_resumed(self) -> bool:
        """Whether the coming epoch begins where a checkpoint stood."""
        return self._resumed is not None

    def load(self, strategy: Strategy, epoch: int) -> None:
        """Ask for the loaders anew; they stand before their first batch."""
        self.loaders.load(strategy, epoch)
        self._position = None
        if self._equal is None:
            self._equal = EqualSteps(strategy, self._uneven_data)
        self.loaders.counts = [self._equal.settle(self.loaders.total, is_sized=self.loaders.is_sized)]
        self.pads = self._equal.pads
        if self.loaders.total == 0 and self.pads:
            message = f"{self.loaders.source.label} gave a rank no batch, so it has nothing to pad with."
            raise ValueError(message)

    @property
    def position(self) -> DataPosition:
        """Where the loaders stand."""
        if self._position is None:
            assert self.loaders.combined is not None  # `load` comes first
            self._position = DataPosition(self.loaders.combined, is_limited=self.loaders.is_limited)
        return self._position

    def start(self) -> None:
        """Start the loaders, workers included, for the coming epoch or what's left of it."""
        loaders, position, row = self.loaders, self.position, self.position.row
        looks_ahead, equal = position.batches_ahead, self._equal
        ahead = looks_ahead + loaders.rules.hands_over + (0 if equal is None else equal.ahead)
        steps = position.steps(ahead, self.num_batches - row)
        if equal is not None:
            steps = equal.given(steps, self._spare_batch, row=row)
        self._steps = loaders.given(batches(steps), row) if looks_ahead else loaders.marked(steps, row=row)

    def weight_of(self, batch_idx: int) -> float:
        """Return what a batch counts for; 0 for one that only pads."""
        return 1.0 if self._equal is None else self._equal.weight_of(batch_idx)

    def _spare_batch(self) -> Any:
        """Return some batch, to pad with."""
        return next(iter(self.loaders.combined))[0]  # type: ignore[arg-type]  # `load` comes first

    def adapt(self, progress: FitProgress, strategy: Strategy) -> None:
        """Find a checkpoint's place among this job's ranks and batches, and count in these from now on.

        Raises:
            ValueError: this job's batches don't end there.
        """
        resumed, combined = self._resumed, self.loaders.combined
        if resumed is None or resumed.position is None or combined is None:
            return
        seeds = resumed.order_seeds
        if self.loaders.rules.use_distributed_sampler and len(seeds) == len(combined.flattened):
            self.loaders.order_seeds = seeds
            combined.flattened = following(combined.flattened, seeds)
        self._position = None
        share = data_share(strategy)
        moved = self.position.moved(resumed.positions, rank=share.index, world_size=share.count)
        if moved.scale != 1:
            # Loaded after a change of ranks or batches alone: `import lt_core` keeps within its budget of modules.
            from lt_core.run.rescaling import rescale

            rescale(progress, moved.scale, row=moved.state["row"])
        self._resumed = replace(resumed, position=moved.state)

    def resume(self, batches_in_epoch: int) -> None:
        """Go to where the checkpoint stood, if this run goes on from one and isn't there yet; `adapt` comes first.

        Args:
            batches_in_epoch: what was trained on in the epoch, for files that hold no position.
        """
        resumed, self._resumed = self._resumed, None
        if resumed is None:
            return
        if resumed.position is not None:
            self.position.load_state_dict(resumed.position)
        elif batches_in_epoch:
            self.position.skip(batches_in_epoch)
        if resumed.rng is not None:
            restore_rng_state(resumed.rng)
        if self.position.is_resumed:
            self.start()

    def remaining_steps(self) -> Iterator[MarkedStep]:
        """Return the batches of the epoch that are left; the loaders are started now unless `start` was called."""
        if self._steps is None:
            self.start()
        steps, self._steps = self._steps, None
        assert steps is not None  # made by `start`
        return steps

    def end_epoch(self, *, is_exhausted: bool) -> None:
        """Say that the epoch is over; ``is_exhausted``: its steps were iterated to their end."""
        self.position.end_epoch(is_exhausted=is_exhausted)

    def state_dict(self, batches_in_epoch: int) -> dict[str, Any]:
        """Return where the loaders stand after so many batches of the epoch were trained on."""
        if self._resumed is not None:
            return {"position": self._resumed.position}
        return {"position": self.position.state_dict(batches_in_epoch) if self.loaders.is_loaded else None}

    def load_state_dict(self, states: Sequence[Mapping[str, Any]], rng: dict[str, Any] | None, *, share: int) -> None:
        """Take back what `state_dict` returned, and the random state at the time of saving, if that was saved.

        Args:
            states: by share of the data in the job that saved.
            rng: for this rank.
            share: which one this rank has.
        """
        positions = [state["position"] for state in states]
        self._resumed = _Resumed(positions, positions[min(share, len(positions) - 1)], rng)


@dataclass(frozen=True)
class _Resumed:
    """What a checkpoint says of the data; it's used once the loaders are there."""

    positions: Sequence[Any]
    """By share of the data in the job that saved."""
    position: Mapping[str, Any] | None
    """This rank's."""
    rng: dict[str, Any] | None

    @property
    def order_seeds(self) -> list[int | None]:
        """The seed of each loader's order."""
        return [order_seed(state) for state in self.positions[0]["loaders"] or ()]
