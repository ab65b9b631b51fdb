"""When schedulers move: every step, every epoch, every n-th of them, and on a plateau."""

import json
import sys
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR, ReduceLROnPlateau, SequentialLR, StepLR
from torch.utils.data import DataLoader

BATCHES = 4


class Model(L.LightningModule):
    def __init__(self, make):
        super().__init__()
        self.make = make
        self.layer = torch.nn.Linear(3, 1)
        self.rates, self.losses, self.stepped = [], [], []

    def training_step(self, batch, batch_idx):
        loss = (self.layer(batch) - 1).pow(2).mean()
        self.losses.append(loss.item())
        self.rates.append(self.optimizers().param_groups[0]["lr"])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", 1.0 if self.current_epoch > 0 else 2.0)

    def lr_scheduler_step(self, scheduler, metric):
        self.stepped.append([self.current_epoch, self.global_step, None if metric is None else float(metric)])
        super().lr_scheduler_step(scheduler, metric)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        return {"optimizer": optimizer, "lr_scheduler": self.make(optimizer, self.trainer)}


def halving(interval, frequency):
    def make(optimizer, trainer):
        scheduler = LambdaLR(optimizer, lambda n: 0.5**n)
        return {"scheduler": scheduler, "interval": interval, "frequency": frequency}

    return make


def one_cycle(optimizer, trainer):
    total = trainer.estimated_stepping_batches
    return {"scheduler": OneCycleLR(optimizer, max_lr=0.2, total_steps=total), "interval": "step"}


def on_plateau(monitor, **config):
    def make(optimizer, trainer):
        return {"scheduler": ReduceLROnPlateau(optimizer, patience=0, factor=0.1), "monitor": monitor, **config}

    return make


def chained(optimizer, trainer):
    parts = [LambdaLR(optimizer, lambda n: (n + 1) / 4), StepLR(optimizer, 2, 0.5)]
    return {"scheduler": SequentialLR(optimizer, parts, milestones=[3]), "interval": "step"}


CASES = {
    "epoch": (halving("epoch", 1), {}),
    "every second epoch": (halving("epoch", 2), {}),
    "step": (halving("step", 1), {}),
    "every second step": (halving("step", 2), {}),
    "every third step": (halving("step", 3), {}),
    "step, accumulating": (halving("step", 1), {"accumulate_grad_batches": 2}),
    "one cycle": (one_cycle, {}),
    "one cycle, accumulating": (one_cycle, {"accumulate_grad_batches": 3, "max_steps": 5}),
    "plateau": (on_plateau("val_loss"), {}),
    "plateau of training": (on_plateau("train_loss"), {}),
    "plateau by steps": (on_plateau("val_loss", interval="step", frequency=2), {"val_check_interval": 2}),
    "plateau, not strict": (on_plateau("nothing", strict=False), {}),
    "chained": (chained, {}),
}


def main(folder):
    observed = {}
    for name, (make, settings) in CASES.items():
        L.seed_everything(4)
        model = Model(make)
        trainer = L.Trainer(
            accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=folder, **{"max_epochs": 4, **settings},
        )  # fmt: skip
        data = DataLoader(torch.randn(4 * BATCHES, 3), batch_size=4)
        trainer.fit(model, data, DataLoader(torch.zeros(2, 3)))
        observed[name] = {"losses": model.losses, "rates": model.rates, "stepped": model.stepped}
        observed[name]["last"] = trainer.lr_scheduler_configs[0].scheduler.state_dict()["last_epoch"]
    (folder / "observed.json").write_text(json.dumps(observed, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
