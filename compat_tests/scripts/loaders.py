"""Several loaders at once: CombinedLoader in all its modes for training, and lists of loaders for evaluation."""

import json
import sys
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import DataLoader, TensorDataset


def loader(n, start, batch_size=2):
    return DataLoader(TensorDataset(torch.arange(start, start + n).float().view(-1, 1)), batch_size=batch_size)


def plain(batch):
    if isinstance(batch, dict):
        return {key: plain(value) for key, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return [plain(value) for value in batch]
    return batch.flatten().tolist() if isinstance(batch, torch.Tensor) else batch


class Reader(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen = []

    def training_step(self, batch, batch_idx, dataloader_idx=0):
        self.seen.append([batch_idx, dataloader_idx, plain(batch)])
        return self.layer(torch.ones(1, 1)).sum()

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        (x,) = batch
        self.log("val_mean", x.mean())
        self.log(f"val_sum_{dataloader_idx}", x.sum(), add_dataloader_idx=False, reduce_fx="sum")

    def test_step(self, batch, batch_idx, dataloader_idx=0):
        self.log("test_max", batch[0].max(), reduce_fx="max")

    def predict_step(self, batch, batch_idx, dataloader_idx=0):
        return batch[0] + 100 * dataloader_idx

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def main(folder):
    observed = {"direct": {}, "trained": {}}
    for mode in ("min_size", "max_size_cycle", "max_size", "sequential"):
        combined = CombinedLoader({"a": loader(6, 0), "b": loader(4, 50, 1)}, mode)
        iter(combined)
        items = [[plain(batch), idx, which] for batch, idx, which in combined]
        observed["direct"][mode] = {"length": len(combined), "items": items}

    def trainer(**kwargs):
        return pl.Trainer(
            accelerator="cpu", logger=False, enable_checkpointing=False, default_root_dir=folder,
            enable_progress_bar=False, enable_model_summary=False, **kwargs,
        )  # fmt: skip

    shapes = {
        "list": [loader(4, 0), loader(6, 10)],
        "dict": {"x": loader(4, 0), "y": [loader(2, 10), loader(6, 20)]},
        "min_size": CombinedLoader([loader(4, 0), loader(6, 10)], "min_size"),
        "sequential": CombinedLoader([loader(4, 0), loader(6, 10)], "sequential"),
        "limited": CombinedLoader({"x": loader(8, 0), "y": loader(2, 10)}, "max_size_cycle"),
    }
    for name, loaders in shapes.items():
        model = Reader()
        run = trainer(max_epochs=2, limit_train_batches=3 if name == "limited" else None)
        try:
            run.fit(model, loaders)
        except ValueError:
            observed["trained"][name] = "refused"
            continue
        observed["trained"][name] = {"batches": run.num_training_batches, "step": run.global_step, "seen": model.seen}

    model, run = Reader(), trainer(limit_test_batches=2)
    two = [loader(6, 0), loader(4, 10, 3)]
    observed["validated"] = run.validate(model, two, verbose=False)
    observed["metrics"] = {key: value.item() for key, value in sorted(run.callback_metrics.items())}
    observed["tested"] = run.test(model, two, verbose=False)
    observed["limits"] = [run.num_val_batches, run.num_test_batches]
    observed["predicted"] = [[plain(batch) for batch in batches] for batches in run.predict(model, two)]
    observed["predicted_one"] = [plain(batch) for batch in run.predict(model, two[0])]
    (folder / "observed.json").write_text(json.dumps(observed, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
