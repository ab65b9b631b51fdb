"""Predictions written to disk by a callback: batch by batch, and all of an epoch with the samples they belong to."""

import json
import sys
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import BasePredictionWriter
from torch.utils.data import DataLoader, TensorDataset


class FolderWriter(BasePredictionWriter):
    def __init__(self, folder, write_interval):
        super().__init__(write_interval)
        self.folder = folder
        self.calls = []

    def write_on_batch_end(self, trainer, pl_module, prediction, batch_indices, batch, batch_idx, dataloader_idx):
        self.calls.append(["batch", dataloader_idx, batch_idx, list(batch_indices), len(batch)])
        torch.save(prediction, self.folder / f"batch_{dataloader_idx}_{batch_idx}.pt")

    def write_on_epoch_end(self, trainer, pl_module, predictions, batch_indices):
        self.calls.append(["epoch", json.loads(json.dumps(batch_indices))])
        torch.save(predictions, self.folder / "predictions.pt")


class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)

    def forward(self, x):
        return self.layer(x)

    def predict_step(self, batch, batch_idx, dataloader_idx=0):
        (x,) = batch
        return {"logits": self(x), "label": self(x).argmax(1), "loader": dataloader_idx}


def plain(value):
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value.tolist() if isinstance(value, torch.Tensor) else value


def main(folder):
    pl.seed_everything(6)
    model = Model()
    first = DataLoader(TensorDataset(torch.randn(7, 3)), batch_size=3)
    second = DataLoader(TensorDataset(torch.randn(4, 3)), batch_size=2, shuffle=True)

    observed = {}
    for interval, loaders in {
        "batch": first,
        "epoch": first,
        "batch_and_epoch": [first, second],
    }.items():
        (folder / interval).mkdir()
        writer = FolderWriter(folder / interval, interval)
        trainer = pl.Trainer(accelerator="cpu", logger=False, callbacks=[writer], enable_progress_bar=False)
        returned = trainer.predict(model, loaders, return_predictions=interval != "epoch")
        observed[interval] = {
            "calls": writer.calls,
            "returned": plain(returned),
            "files": {file.name: plain(torch.load(file)) for file in sorted((folder / interval).iterdir())},
        }
    try:
        FolderWriter(folder, "sometimes")
    except Exception as error:
        observed["refused"] = type(error).__name__
    (folder / "observed.json").write_text(json.dumps(observed, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
