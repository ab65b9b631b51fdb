"""A bug report with BoringModel, and what the Trainer offers to look for the bug."""

import json
import sys
from pathlib import Path

import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.demos.boring_classes import (
    BoringDataModule,
    BoringModel,
    DemoModel,
    ManualOptimBoringModel,
    RandomDataset,
    RandomDictDataset,
    RandomIterableDataset,
)
from torch.utils.data import DataLoader


class Reported(BoringModel):
    def __init__(self):
        super().__init__()
        self.losses, self.batches = [], []

    def training_step(self, batch, batch_idx):
        result = super().training_step(batch, batch_idx)
        self.losses.append(result["loss"].item())
        self.batches.append(batch.sum().item())
        self.log("train_loss", result["loss"])
        return result

    def validation_step(self, batch, batch_idx):
        result = super().validation_step(batch, batch_idx)
        self.log("valid_loss", result["x"])
        return result


class Broken(Reported):
    def training_step(self, batch, batch_idx):
        return self.layer(batch).sum().sqrt() * torch.tensor(float("nan"))


class Manual(ManualOptimBoringModel):
    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.weight_sum = self.layer.weight.sum().item()


def main(folder):
    def trainer(**kwargs):
        kwargs = {"enable_progress_bar": False, "enable_model_summary": False, **kwargs}
        return Trainer(accelerator="cpu", default_root_dir=folder, **kwargs)

    seed_everything(1)
    model = Reported()
    run = trainer(max_epochs=1, limit_train_batches=3, limit_val_batches=2, num_sanity_val_steps=0, logger=False)
    run.fit(model, DataLoader(RandomDataset(32, 64), batch_size=2), DataLoader(RandomDataset(32, 64), batch_size=2))
    valid_loss = run.callback_metrics["valid_loss"].item()
    tested = run.test(model, dataloaders=DataLoader(RandomDataset(32, 6), batch_size=2), verbose=False)
    observed = {"report": [model.losses, valid_loss, tested, run.global_step]}

    seed_everything(2)
    cases = {
        "fast_dev_run": {"fast_dev_run": True},
        "three batches": {"fast_dev_run": 3},
        "overfit": {"overfit_batches": 2, "max_epochs": 2, "logger": False, "enable_checkpointing": False},
        "overfit half": {"overfit_batches": 0.25, "max_epochs": 1, "logger": False, "enable_checkpointing": False},
        "barebones": {"barebones": True, "max_epochs": 1, "enable_progress_bar": None, "enable_model_summary": None},
    }
    for name, settings in cases.items():
        model, run = Reported(), trainer(**settings)
        shuffled = DataLoader(RandomDataset(32, 16), batch_size=2, shuffle=True)
        run.fit(model, shuffled, shuffled)
        losses = model.losses if "overfit" not in name else len(model.losses)
        counts = [run.global_step, run.max_steps, run.max_epochs, run.num_val_batches]
        places = [*counts, len(run.loggers), len(run.callbacks)]
        repeated = model.batches[:2] == model.batches[2:4] if name == "overfit" else None
        observed[name] = [losses, places, sorted(run.callback_metrics), repeated]

    seed_everything(3)
    manual, data = Manual(), BoringDataModule()
    nothing_kept = {"max_epochs": 1, "logger": False, "enable_checkpointing": False}
    trainer(limit_train_batches=4, limit_val_batches=1, **nothing_kept).fit(manual, data)
    observed["manual"] = [manual.weight_sum, len(data.random_train)]
    observed["dict"] = {key: list(value.shape) for key, value in RandomDictDataset(4, 8)[0].items()}
    observed["iterable"] = len(list(RandomIterableDataset(4, 8)))
    observed["demo"] = [list(parameter.shape) for parameter in DemoModel(4).parameters()]
    try:
        trainer(detect_anomaly=True, **nothing_kept).fit(Broken(), data)
    except RuntimeError:
        observed["anomaly"] = "RuntimeError"
    observed["still detecting"] = torch.is_anomaly_enabled()
    (folder / "observed.json").write_text(json.dumps(observed, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
