"""What one of several ranks evaluates, in a module that processes can import: every loader at once, for many sizes."""

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info
from torchmetrics import MeanMetric

from lt_core import LightningModule, Trainer
from lt_fabric.data import CombinedLoader
from lt_interfaces.callback import Callback

BATCH_SIZES = (1, 2, 3, 4)


class Numbers(Dataset[int]):
    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> int:
        return index


class Stream(IterableDataset[int]):
    """Gives the same numbers everywhere."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.size))


class SizedStream(Stream):
    def __len__(self) -> int:
        return self.size


class SplitStream(Stream):
    """Splits its numbers over workers by itself."""

    def __iter__(self) -> Iterator[int]:
        worker = get_worker_info()
        return iter(range(self.size)) if worker is None else iter(range(worker.id, self.size, worker.num_workers))


class Statistics(LightningModule):
    """Logs statistics of the numbers it sees, and predicts from each."""

    def __init__(self, num_loaders: int) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(1)  # has buffers, which ranks mustn't exchange for every batch
        self.means = torch.nn.ModuleList(MeanMetric() for _ in range(num_loaders))

    def validation_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.norm(batch[:, None].float())
        squares = batch.double().square()
        metric: Any = self.means[dataloader_idx]
        metric(squares)
        self.log("count", float(len(batch)), reduce_fx="sum")
        self.log("largest", batch.max(), reduce_fx="max")
        self.log("mean", squares.mean(), on_step=True, on_epoch=True, batch_size=len(batch))
        self.log("by_metric", metric)

    def test_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.validation_step(batch, batch_idx, dataloader_idx)

    def predict_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any]:
        return {"twice": 2 * batch, "names": [str(int(number)) for number in batch]}


class SideBySide(LightningModule):
    """Counts the samples of loaders that are read side by side; where one has ended there's none."""

    def validation_step(self, batch: tuple[Tensor | None, ...], batch_idx: int) -> None:
        count = sum(len(part) for part in batch if part is not None)
        self.log("count", float(count), reduce_fx="sum", batch_size=1)


class Kept(Callback):
    """Keeps what this rank predicted itself, by loader."""

    def __init__(self) -> None:
        self.outputs: dict[int, list[Any]] = {}

    def on_predict_batch_end(self, trainer: Any, module: Any, outputs: Any, *args: Any) -> None:
        self.outputs.setdefault(args[2], []).append(outputs)


Outputs = list[dict[str, Any]]


@dataclass
class Evaluated:
    """What came out for each loader."""

    validated: list[dict[str, float]]
    tested: list[dict[str, float]]
    alone: dict[int, list[dict[str, float]]]
    """Validated with a single loader, by number of samples."""
    gathered: list[Outputs]
    own: list[Outputs]
    """What this rank predicted itself."""
    side_by_side: dict[str, float]
    """Samples of two loaders that are read side by side, by the mode of their CombinedLoader."""


def loaders_of(sizes: Iterable[int]) -> list[DataLoader[int]]:
    """Return a loader for each number of samples, kind of dataset and batch size, in this order."""
    kinds = [kind for size in sizes for kind in (Numbers(size), SizedStream(size) if size % 2 else Stream(size))]
    return [DataLoader(kind, batch_size=batch_size) for kind in kinds for batch_size in BATCH_SIZES]


def new_trainer(**arguments: Any) -> Trainer:
    """Make a quiet trainer for all ranks of this job."""
    warnings.simplefilter("ignore")  # what's assumed of streams; tests elsewhere look at it
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    strategy = "ddp" if world > 1 else "auto"
    return Trainer(accelerator="cpu", strategy=strategy, devices=world, **{**quiet, **arguments})


def evaluate_all(sizes: Sequence[int], sizes_alone: Sequence[int]) -> Evaluated:
    """Evaluate and predict with every loader."""
    loaders, kept = loaders_of(sizes), Kept()
    module, trainer = Statistics(len(loaders)), new_trainer(callbacks=kept)
    alone = [DataLoader(Numbers(size), batch_size=2) for size in sizes_alone]
    return Evaluated(
        trainer.validate(module, loaders, verbose=False),
        trainer.test(module, loaders, verbose=False),
        {len(loader.dataset): trainer.validate(module, loader, verbose=False) for loader in alone},  # type: ignore[arg-type]
        _plain(trainer.predict(module, loaders, gather=True)),
        _plain(kept.outputs.get(idx, []) for idx in range(len(loaders))),
        {mode: counted_side_by_side(mode) for mode in ("max_size", "max_size_cycle", "min_size")},
    )


def counted_side_by_side(mode: str) -> float:
    """Validate on 5 and 8 numbers at once, and return how many samples came."""
    combined = CombinedLoader([DataLoader(Numbers(size), batch_size=2) for size in (5, 8)], mode)
    (metrics,) = new_trainer().validate(SideBySide(), combined, verbose=False)
    return metrics["count"]


def predict_with_workers(size: int) -> list[Any]:
    """Predict from loaders with workers, and validate on a stream that splits over them by itself."""
    module, trainer = Statistics(1), new_trainer()
    # Forked, as these processes came from a fork server themselves, and a worker of theirs from one would hang.
    options: dict[str, Any] = {"batch_size": 2, "num_workers": 2, "multiprocessing_context": "fork"}
    loaders = [DataLoader(kind(size), **options) for kind in (Stream, SizedStream, Numbers)]
    split = DataLoader(SplitStream(size), **options)
    return [_plain(trainer.predict(module, loaders, gather=True)), trainer.validate(module, split, verbose=False)]


def _plain(predictions: Any) -> list[Outputs]:
    return [
        [{"twice": output["twice"].tolist(), "names": output["names"]} for output in of_loader]
        for of_loader in predictions
    ]
