"""A logger and progress bars of one's own, written against Lightning's base classes."""

import json
import sys
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ProgressBar, TQDMProgressBar
from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import DataLoader


class ListLogger(Logger):
    def __init__(self, root):
        super().__init__()
        self.root, self.calls = Path(root), []

    @property
    def name(self):
        return "mine"

    @property
    def version(self):
        return "0.1"

    @property
    def save_dir(self):
        return str(self.root)

    @property
    @rank_zero_experiment
    def experiment(self):
        return self.calls

    @rank_zero_only
    def log_hyperparams(self, params, *args, **kwargs):
        self.experiment.append(["hyperparams", dict(params)])

    @rank_zero_only
    def log_metrics(self, metrics, step):
        self.experiment.append(["metrics", step, dict(sorted(metrics.items()))])

    @rank_zero_only
    def finalize(self, status):
        self.calls.append(["finalize", status])

    def after_save_checkpoint(self, checkpoint_callback):
        self.calls.append(["checkpoint", Path(checkpoint_callback.best_model_path).name])


class Lines(ProgressBar):
    def __init__(self):
        super().__init__()
        self.lines, self.is_enabled = [], True

    def disable(self):
        self.is_enabled = False

    def enable(self):
        self.is_enabled = True

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        metrics = dict(self.get_metrics(trainer, pl_module))
        self.lines.append([trainer.current_epoch, batch_idx + 1, self.total_train_batches, metrics])

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        self.has_dataloader_changed(dataloader_idx)

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        self.lines.append(["validated", batch_idx + 1, str(self.total_val_batches_current_dataloader)])


class WithoutVersion(TQDMProgressBar):
    def get_metrics(self, trainer, pl_module):
        items = super().get_metrics(trainer, pl_module)
        items.pop("v_num", None)
        pl_module.shown.append(sorted(items))
        return items

    def init_train_tqdm(self):
        bar = super().init_train_tqdm()
        bar.set_description("training")
        return bar


class Model(pl.LightningModule):
    def __init__(self, size=2):
        super().__init__()
        self.save_hyperparameters()
        self.layer, self.shown = torch.nn.Linear(size, 1), []

    def training_step(self, batch, batch_idx):
        loss = self.layer(batch).pow(2).mean()
        self.log("loss", loss, prog_bar=True)
        self.print(f"batch {batch_idx}")
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val", self.layer(batch).mean(), prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def main(folder):
    pl.seed_everything(12)
    data = DataLoader(torch.randn(6, 2), batch_size=2)
    logger, bar = ListLogger(folder), Lines()
    trainer = pl.Trainer(
        max_epochs=2, accelerator="cpu", logger=logger, callbacks=[bar], log_every_n_steps=1, default_root_dir=folder
    )
    trainer.fit(Model(), data, data)
    shown = Model()
    tqdm = pl.Trainer(max_epochs=1, accelerator="cpu", logger=False, callbacks=[WithoutVersion(refresh_rate=1)],
                      enable_checkpointing=False)  # fmt: skip
    tqdm.fit(shown, data)
    observed = {
        "calls": logger.calls,
        "lines": bar.lines,
        "bar": type(trainer.progress_bar_callback).__name__,
        "log_dir": str(Path(trainer.log_dir).relative_to(folder)),
        "shown": shown.shown[-1],
    }
    (folder / "observed.json").write_text(json.dumps(observed, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
