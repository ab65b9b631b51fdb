"""What prediction writers of two ranks get, in a module that processes can import."""

import warnings
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lt_callbacks import BasePredictionWriter
from lt_core import LightningModule, Trainer

NUMBERS: Any = range(5)


class Net(LightningModule):
    """Predicts the samples it's given."""

    def predict_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> list[int]:
        return batch.tolist()


class Written(BasePredictionWriter):
    """Remembers what it was given to write."""

    def __init__(self) -> None:
        super().__init__("batch_and_epoch")
        self.batches: list[Any] = []
        self.epoch: Any = None

    def write_on_batch_end(
        self, trainer: Any, pl_module: Any, prediction: Any, batch_indices: Any, batch: Any, *place: int
    ) -> None:
        self.batches.append((prediction, batch_indices))

    def write_on_epoch_end(self, trainer: Any, pl_module: Any, predictions: Any, batch_indices: Any) -> None:
        self.epoch = (predictions, batch_indices)


def predict(folder: str) -> dict[str, Any]:
    """Predict from several kinds of loaders; return what this rank's writer got and what was returned."""
    warnings.simplefilter("ignore")
    loaders = {
        "plain": DataLoader(NUMBERS),
        "batches": DataLoader(NUMBERS, batch_size=2),
        "workers": DataLoader(NUMBERS, batch_size=2, num_workers=1),
        "shuffled": DataLoader(NUMBERS, shuffle=True),
        "several": [DataLoader(NUMBERS), DataLoader(range(1))],  # type: ignore[arg-type]  # a range is a dataset
    }
    return {name: _predict(folder, loader) for name, loader in loaders.items()} | {
        "gathered": _predict(folder, loaders["batches"], gather=True, return_predictions=True)
    }


def _predict(folder: str, loaders: Any, **arguments: Any) -> dict[str, Any]:
    torch.manual_seed(0)
    writer = Written()
    trainer = Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        callbacks=[writer],
    )
    returned = trainer.predict(Net(), loaders, **{"return_predictions": False, **arguments})
    return {"batches": writer.batches, "epoch": writer.epoch, "returned": returned}
