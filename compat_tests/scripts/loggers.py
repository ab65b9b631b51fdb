"""What loggers write: CSV and TensorBoard side by side, learning rates, and hyper-parameters with a metric."""

import json
import sys
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader


class Model(L.LightningModule):
    def __init__(self, lr=0.1, layers=2):
        super().__init__()
        self.save_hyperparameters()
        self.example_input_array = torch.zeros(1, 3)
        self.a, self.b = torch.nn.Linear(3, 3), torch.nn.Linear(3, 1)

    def forward(self, x):
        return self.b(self.a(x).relu())

    def training_step(self, batch, batch_idx):
        loss = (self(batch) - 1).pow(2).mean()
        self.log("train/loss", loss, on_step=True, on_epoch=True)
        if batch_idx == 1:
            self.logger.log_metrics({"by_hand": float(batch_idx)}, step=self.global_step)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", (self(batch) - 1).pow(2).mean())
        self.log("hp_metric", self.b.weight.abs().mean())

    def on_train_end(self):
        for logger in self.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_scalar("own/scalar", 3.0, global_step=self.global_step)

    def configure_optimizers(self):
        groups = [{"params": self.a.parameters(), "name": "first"}, {"params": self.b.parameters(), "name": "second"}]
        optimizer = torch.optim.SGD(groups, lr=self.hparams.lr, momentum=0.9, weight_decay=0.01)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step", "name": "rate"}}


def scalars(log_dir):
    events = EventAccumulator(str(log_dir))
    events.Reload()
    return {tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in sorted(events.Tags()["scalars"])}


def main(folder):
    L.seed_everything(8)
    data = DataLoader(torch.randn(20, 3), batch_size=4)
    boards = TensorBoardLogger(folder, name="boards", version="v1", log_graph=True, sub_dir="inside")
    loggers = [CSVLogger(folder, name="table"), boards]
    monitors = [
        LearningRateMonitor(log_momentum=True, log_weight_decay=True),
        ModelCheckpoint(monitor="val/loss", filename="best"),
    ]
    trainer = L.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=loggers,
        callbacks=monitors,
        log_every_n_steps=2,
        default_root_dir=folder,
    )
    trainer.fit(Model(), data, data)
    alone = CSVLogger(folder, name="alone", prefix="p", flush_logs_every_n_steps=2)
    alone.log_hyperparams({"lr": 0.1, "nested": {"a": [1, 2]}})
    for step in range(3):
        alone.log_metrics({"x": step / 2, **({"late": 1.0} if step == 2 else {})}, step)
    alone.save()
    again = CSVLogger(folder, name="table")
    board = TensorBoardLogger(str(folder), name=None, version=3, default_hp_metric=False, prefix="pre")
    board.log_hyperparams({"lr": 0.5}, {"score": 0.75})
    board.log_metrics({"loss": 0.5, "parts": {"a": 1.0}}, step=4)
    board.finalize("success")

    observed = {
        "scalars": scalars(boards.log_dir),
        "board": scalars(board.log_dir),
        "rates": monitors[0].lrs,
        "names": [[logger.name, logger.version] for logger in (*loggers, alone, again, board)],
        "dirs": [str(Path(logger.log_dir).relative_to(folder)) for logger in (*loggers, alone, again, board)],
        "log_dir": str(Path(trainer.log_dir).relative_to(folder)),
        "checkpoint": str(Path(trainer.checkpoint_callback.best_model_path).relative_to(folder)),
        "known": {key: float(value) for key, value in sorted(trainer.callback_metrics.items())},
        "logged": {key: float(value) for key, value in sorted(trainer.logged_metrics.items())},
    }
    (folder / "observed.json").write_text(json.dumps(observed, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
