"""How long a run lasts and when it validates: epochs, steps, time, limits and intervals."""

import json
import sys
from datetime import timedelta
from pathlib import Path

import torch
from lightning import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback, Timer
from lightning.pytorch.trainer.states import RunningStage, TrainerFn, TrainerStatus
from torch.utils.data import DataLoader, IterableDataset


class Endless(IterableDataset):
    def __iter__(self):
        while True:
            yield torch.ones(2)


class StopAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.step:
            trainer.should_stop = True


class Model(LightningModule):
    def __init__(self, skip_from=None):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.trained, self.validated, self.sanity = [], [], 0

    def training_step(self, batch, batch_idx):
        self.trained.append([self.current_epoch, batch_idx])
        return self.layer(batch).sum()

    def validation_step(self, batch, batch_idx):
        self.sanity += self.trainer.sanity_checking

    def on_validation_start(self):
        if not self.trainer.sanity_checking:
            assert self.trainer.state.stage == RunningStage.VALIDATING
            self.validated.append([self.current_epoch, self.global_step])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


CASES = {
    "epochs": {"max_epochs": 2},
    "steps": {"max_steps": 7},
    "steps and epochs": {"max_steps": 50, "max_epochs": 2},
    "min_steps": {"max_epochs": 3, "min_steps": 8, "callbacks": [StopAt(3)]},
    "min_epochs": {"max_epochs": 3, "min_epochs": 2, "callbacks": [StopAt(2)]},
    "stopped": {"max_epochs": 3, "callbacks": [StopAt(7)]},
    "no epochs": {"max_epochs": 0},
    "fractions": {"max_epochs": 1, "limit_train_batches": 0.5, "limit_val_batches": 0.4},
    "no training": {"max_epochs": 2, "limit_train_batches": 0},
    "quarters": {"max_epochs": 1, "val_check_interval": 0.25},
    "every third batch": {"max_epochs": 2, "val_check_interval": 3},
    "across epochs": {"max_epochs": 3, "val_check_interval": 8, "check_val_every_n_epoch": None},
    "every second epoch": {"max_epochs": 4, "check_val_every_n_epoch": 2},
    "whole sanity": {"max_epochs": 1, "num_sanity_val_steps": -1},
    "no sanity": {"max_epochs": 1, "num_sanity_val_steps": 0},
    "max_time": {"max_epochs": -1, "max_time": "00:00:00:01"},
    "timer": {"max_epochs": -1, "callbacks": [Timer(timedelta(seconds=0.5))]},
    "dict of time": {"max_epochs": 2, "max_time": {"minutes": 5}},
}


def main(folder):
    observed = {}
    for name, settings in CASES.items():
        seed_everything(0)
        model = Model()
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
        trainer = Trainer(accelerator="cpu", logger=False, default_root_dir=folder, **quiet, **settings)
        trainer.fit(model, DataLoader(torch.ones(10, 2), batch_size=2), DataLoader(torch.ones(5, 2)))
        assert (trainer.state.status, trainer.state.fn) == (TrainerStatus.FINISHED, TrainerFn.FITTING)
        if "time" in name and settings["max_epochs"] == -1:
            stopped = trainer.global_step > 10 and len(model.validated) > 1
            observed[name] = [stopped, [type(callback).__name__ for callback in trainer.callbacks]]
            continue
        observed[name] = {"trained": model.trained, "validated": model.validated, "sanity": model.sanity}
        observed[name]["ended"] = [trainer.current_epoch, trainer.global_step, trainer.num_training_batches]
    seed_everything(1)
    model, limits = Model(), {"max_steps": 7, "val_check_interval": 3, "limit_val_batches": 1}
    trainer = Trainer(**limits, accelerator="cpu", logger=False, default_root_dir=folder)
    trainer.fit(model, DataLoader(Endless(), batch_size=2), DataLoader(torch.ones(5, 2)))
    observed["endless"] = [model.trained, model.validated, str(trainer.num_training_batches), trainer.current_epoch]
    (folder / "observed.json").write_text(json.dumps(observed, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
