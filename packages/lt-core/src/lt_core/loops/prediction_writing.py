"""What callbacks that write predictions get beside the hooks: the samples of each batch, and all outputs at the end."""

import copy
from collections import deque
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, Final, Protocol

from torch.utils.data import DataLoader

from lt_core.run.fit_run import EvaluationRun
from lt_fabric.data.lengths import has_iterable_dataset
from lt_fabric.data.loader_copy import copy_loader
from lt_interfaces.rank_zero import rank_zero_warn


class PredictionWriter(Protocol):
    """A callback that writes predictions; known by these methods, whatever its class."""

    @property
    def needs_all_predictions(self) -> bool:
        """Whether the outputs of all batches are to be kept for it, on the CPU."""

    def take_batch_indices(self, batch_indices: list[int], dataloader_idx: int) -> None:
        """Take the indices in the dataset of the samples that this rank predicts from next.

        Called for each batch, before its hooks. An empty list: nobody knows them.
        """

    def take_predictions(self, predictions: Sequence[list[Any]]) -> None:
        """Take the outputs of all batches of this rank, a list per loader.

        Called before ``on_predict_epoch_end``, if it needs them all.
        """


def prediction_writers(callbacks: Iterable[Any]) -> list[PredictionWriter]:
    """Return the callbacks that write predictions."""
    return [callback for callback in callbacks if hasattr(callback, "take_batch_indices")]


class PredictionWriting:
    """Hands writers what they need of one pass over the loaders.

    Args:
        writers: those of the Trainer.
        run: whose loaders are loaded; from now on they note what they draw. The user's stay as they are.

    Raises:
        NotImplementedError: for a step that takes its batches itself.
    """

    def __init__(self, writers: Sequence[PredictionWriter], run: EvaluationRun) -> None:
        loaders = run.loaders
        assert loaders.combined is not None  # loaded before
        if loaders.rules.hands_over:
            names = ", ".join(sorted({type(writer).__name__ for writer in writers}))
            message = (
                f"{names} can't tell the batches of a `predict_step` that takes `dataloader_iter`. Let the step take"
                " `batch, batch_idx`, or leave the callback out."
            )
            raise NotImplementedError(message)
        self._writers: Final = writers
        self._noted: Final = run.batch_indices
        self._noted[:] = [[] for _ in loaders.combined.flattened]
        self._drawn: Final[list[deque[list[int]] | None]] = []
        loaders.combined = copy.copy(loaders.combined)
        loaders.combined.flattened = [self._noting(loader) for loader in loaders.combined.flattened]

    @property
    def needs_all(self) -> bool:
        """Whether the outputs of all batches are to be kept."""
        return any(writer.needs_all_predictions for writer in self._writers)

    def note(self, batch: object, batch_idx: int, loader_idx: int) -> None:
        """Tell the writers which samples a batch has, before it's predicted from."""
        drawn = self._drawn[loader_idx]
        indices = [] if drawn is None else drawn.popleft()
        if indices:
            self._noted[loader_idx].append(indices)
        for writer in self._writers:
            writer.take_batch_indices(list(indices), loader_idx)

    def hand_over(self, outputs: Sequence[list[Any]]) -> None:
        """Give the outputs of all batches to those who need them."""
        for writer in self._writers:
            if writer.needs_all_predictions:
                writer.take_predictions(outputs)

    def _noting(self, loader: Any) -> Any:
        """Return the loader in a form that notes what it draws, if there's one."""
        drawn: deque[list[int]] = deque()
        noting = _noting_loader(loader, drawn)
        if noting is None:
            rank_zero_warn(
                f"Nobody knows which samples the batches of loader {len(self._drawn)} have ({type(loader).__name__}):"
                " that takes a DataLoader of a map-style dataset that gives batches in order. Writers get empty"
                " `batch_indices` for it."
            )
        self._drawn.append(None if noting is None else drawn)
        return loader if noting is None else noting


class _NotedDraws:
    """A sampler or batch sampler that notes what it draws; everything else is the drawing one's own."""

    def __init__(self, drawing: Any, drawn: deque[list[int]], *, is_of_batches: bool) -> None:
        self._drawing = drawing
        self._drawn = drawn
        self._is_of_batches = is_of_batches

    def __iter__(self) -> Iterator[Any]:
        self._drawn.clear()
        # Begun here and not with the first batch: it may draw random numbers, and the order of draws is the loader's.
        return map(self._noted, iter(self._drawing))

    def _noted(self, draw: Any) -> Any:
        if self._is_of_batches and not isinstance(draw, Sized):
            draw = list(draw)  # can be read once only
        self._drawn.append(list(draw) if self._is_of_batches else [draw])
        return draw

    def __len__(self) -> int:
        return len(self._drawing)

    def __getattr__(self, name: str) -> Any:
        if name == "_drawing":  # while being copied
            raise AttributeError(name)
        return getattr(self._drawing, name)


def _noting_loader(loader: Any, drawn: deque[list[int]]) -> Any | None:
    """Return a copy of a loader that notes what it draws; ``None`` where that doesn't tell what its batches have."""
    if not isinstance(loader, DataLoader) or has_iterable_dataset(loader) or not loader.in_order:
        return None
    name = "sampler" if loader.batch_sampler is None else "batch_sampler"
    noted = _NotedDraws(getattr(loader, name), drawn, is_of_batches=loader.batch_sampler is not None)
    noting = copy_loader(loader, **{name: noted})
    return noting if getattr(noting, name) is noted else None  # a subclass may have made it a property
