"""Writes predictions: batch by batch as they come, or all of them at the end."""

from collections.abc import Sequence
from typing import Any

from lightning_utilities.core.enums import StrEnum

from lt_callbacks.run import Run
from lt_interfaces.callback import Callback
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.spelling import did_you_mean


class WriteInterval(StrEnum):
    """When predictions are written."""

    BATCH = "batch"
    EPOCH = "epoch"
    BATCH_AND_EPOCH = "batch_and_epoch"

    @property
    def on_batch(self) -> bool:
        """Whether they're written after each batch."""
        return self in (WriteInterval.BATCH, WriteInterval.BATCH_AND_EPOCH)

    @property
    def on_epoch(self) -> bool:
        """Whether they're written when all were made."""
        return self in (WriteInterval.EPOCH, WriteInterval.BATCH_AND_EPOCH)


class BasePredictionWriter(Callback):
    """Base class of callbacks that write what `Trainer.predict` gives; override one or both of its ``write_on_...``.

    Every rank writes the predictions of its own share. ``batch_indices`` say which samples of the dataset they belong
    to, in the order in which this rank has really read them: also shuffled, over several ranks, with workers. They're
    empty, with a warning, for loaders of which nobody knows it (iterable datasets, loaders that aren't DataLoaders).

    Writing epochs works with ``return_predictions=False`` as well: the outputs are kept on the CPU until then. Writing
    batches keeps nothing.

    Args:
        write_interval: ``"batch"``, ``"epoch"`` or ``"batch_and_epoch"``.

    Raises:
        MisconfigurationException: for another interval.
        NotImplementedError: when predicting starts, with a ``predict_step`` that takes ``dataloader_iter``.

    Example::

        class FilePerRank(BasePredictionWriter):
            def __init__(self, folder):
                super().__init__(write_interval="epoch")
                self.folder = folder

            def write_on_epoch_end(self, trainer, pl_module, predictions, batch_indices):
                saved = {"predictions": predictions, "samples": batch_indices}
                torch.save(saved, f"{self.folder}/rank{trainer.global_rank}.pt")


        trainer = Trainer(callbacks=[FilePerRank("predictions")])
        trainer.predict(model, loader, return_predictions=False)

    >>> BasePredictionWriter("epoch").interval.on_batch
    False
    """

    def __init__(self, write_interval: str = "batch") -> None:
        self.interval = _checked_interval(write_interval)
        self._current_indices: list[int] = []
        self._all_indices: list[list[list[int]]] = []
        self._predictions: Sequence[list[Any]] = []

    def write_on_batch_end(
        self,
        trainer: Any,
        pl_module: Any,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write what was predicted from one batch.

        Args:
            trainer: the Trainer.
            pl_module: the module.
            prediction: what ``predict_step`` returned, on the device it's on.
            batch_indices: the indices of the batch's samples in the dataset; empty where they aren't known.
            batch: the batch.
            batch_idx: its place among those of this rank.
            dataloader_idx: which of several loaders it's from.
        """

    def write_on_epoch_end(
        self,
        trainer: Any,
        pl_module: Any,
        predictions: Sequence[Any],
        batch_indices: Sequence[Any],
    ) -> None:
        """Write what was predicted from all batches.

        Args:
            trainer: the Trainer.
            pl_module: the module.
            predictions: what ``predict_step`` returned for each batch, on the CPU; with several loaders a list of these
                per loader.
            batch_indices: for each loader, also if it's the only one, a list with the indices of each batch; an empty
                one where they aren't known.
        """

    # --- what the loop hands over ---

    @property
    def needs_all_predictions(self) -> bool:
        """Whether the outputs of all batches are kept until the end."""
        return self.interval.on_epoch

    def take_batch_indices(self, batch_indices: list[int], dataloader_idx: int) -> None:
        """Note which samples are predicted from next."""
        self._current_indices = batch_indices
        if self.interval.on_epoch:
            self._of_loader(dataloader_idx).extend([batch_indices] if batch_indices else [])

    def take_predictions(self, predictions: Sequence[list[Any]]) -> None:
        """Take all outputs, a list per loader."""
        self._predictions = predictions

    def on_predict_start(self, trainer: Run, pl_module: Any) -> None:
        self._current_indices, self._all_indices, self._predictions = [], [], []

    def on_predict_batch_end(
        self, trainer: Run, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if self.interval.on_batch:
            indices = self._current_indices
            self.write_on_batch_end(trainer, pl_module, outputs, indices, batch, batch_idx, dataloader_idx)

    def on_predict_epoch_end(self, trainer: Run, pl_module: Any) -> None:
        if not self.interval.on_epoch:
            return
        every_loader = self._predictions
        self._of_loader(len(every_loader) - 1)  # those that gave no batch at all have an empty list, too
        predictions = every_loader[0] if len(every_loader) == 1 else every_loader
        self.write_on_epoch_end(trainer, pl_module, predictions, self._all_indices)
        self._all_indices, self._predictions = [], []  # nothing is kept longer than it's needed

    def _of_loader(self, dataloader_idx: int) -> list[list[int]]:
        """Return the indices of a loader's batches so far."""
        while len(self._all_indices) <= dataloader_idx:
            self._all_indices.append([])
        return self._all_indices[dataloader_idx]


def _checked_interval(write_interval: str) -> WriteInterval:
    try:
        return WriteInterval(write_interval)
    except ValueError as error:
        known = [str(interval.value) for interval in WriteInterval]
        hint = did_you_mean(str(write_interval), known)
        message = f"`write_interval` must be one of {known}, not {write_interval!r}.{hint}"
        raise MisconfigurationException(message) from error
