"""Resuming: by path, by "last", by "best", in the middle of an epoch, and what's found in the file."""

import json
import sys
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset


class Model(L.LightningModule):
    def __init__(self, lr=0.05):
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 1))
        self.seen = []

    def training_step(self, batch, batch_idx):
        x, y, sample = batch
        loss = (self.net(x) - y).pow(2).mean()
        self.seen.append([self.current_epoch, batch_idx, int(sample[0]), loss.item()])
        self.log("loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", (self.net(batch[0]) - batch[1]).pow(2).mean())

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams.lr)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.7)]


def main(folder):
    L.seed_everything(21)
    x = torch.randn(20, 4)
    data = TensorDataset(x, x.sum(1, keepdim=True), torch.arange(20))
    loaders = DataLoader(data, batch_size=4), DataLoader(data, batch_size=10)

    def trainer(name, **kwargs):
        keep = ModelCheckpoint(folder / name, monitor="val_loss", save_last=True, save_top_k=1)
        often = ModelCheckpoint(folder / name, filename="{step}", every_n_train_steps=3, save_top_k=-1)
        stop = EarlyStopping("val_loss", patience=3)
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        return L.Trainer(accelerator="cpu", callbacks=[keep, often, stop], default_root_dir=folder, **quiet, **kwargs)

    def seen_after(run, model, **kwargs):
        run.fit(model, *loaders, **kwargs)
        return {"seen": model.seen, "epoch": run.current_epoch, "step": run.global_step}

    L.seed_everything(22)
    observed = {"whole": seen_after(trainer("whole", max_epochs=4), Model())}
    for name in ("path", "last"):
        L.seed_everything(22)
        first = trainer(name, max_epochs=2)
        observed[f"before {name}"] = seen_after(first, Model())
        file = torch.load(folder / name / "last.ckpt", weights_only=False)
        run, path = trainer(name, max_epochs=4), first.checkpoint_callback.best_model_path if name == "path" else "last"
        observed[f"after {name}"] = seen_after(run, Model(), ckpt_path=path)
    observed["file"] = {
        "keys": sorted(set(file) - {"lt", "hparams_name"}),
        "callbacks": sorted(file["callbacks"]),
        "counters": [file["epoch"], file["global_step"], file["hyper_parameters"]],
        "scheduler": {key: file["lr_schedulers"][0][key] for key in ("last_epoch", "_last_lr", "step_size")},
        "loops": sorted(file["loops"]),
        "progress": file["loops"]["fit_loop"]["epoch_progress"],
    }
    observed["no steps left"] = seen_after(trainer("none", max_epochs=4), Model(), ckpt_path=folder / "last/last.ckpt")
    L.seed_everything(23)
    continued, model = trainer("again", max_epochs=1), Model()
    seen_after(continued, model)
    continued.fit_loop.max_epochs = 2
    observed["continued"] = seen_after(continued, model)
    observed["validated"] = run.validate(Model(), loaders[1], ckpt_path="best", verbose=False)
    try:
        trainer("missing", max_epochs=1).fit(Model(), *loaders, ckpt_path=folder / "missing.ckpt")
    except FileNotFoundError:
        observed["missing"] = "FileNotFoundError"
    observed["middle"] = seen_after(trainer("after", max_epochs=2), Model(), ckpt_path=folder / "whole" / "step=3.ckpt")
    (folder / "observed.json").write_text(json.dumps(observed, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
