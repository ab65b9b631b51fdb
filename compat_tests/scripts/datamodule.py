"""A data module with hyper-parameters and state, its hooks in order, and one made from data sets."""

import json
import sys
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.datamodule import LightningDataModule
from torch.utils.data import DataLoader, TensorDataset, random_split


class Data(LightningDataModule):
    def __init__(self, root: str = "data", batch_size: int = 4, noise: float = 0.1):
        super().__init__()
        self.save_hyperparameters(ignore="root")
        self.root = Path(root)
        self.calls, self.epochs_seen = [], 0

    def prepare_data(self):
        self.calls.append("prepare_data")
        torch.save(torch.linspace(-1, 1, 20).view(-1, 1), self.root / "x.pt")

    def setup(self, stage=None):
        self.calls.append(f"setup {stage}")
        x = torch.load(self.root / "x.pt")
        data = TensorDataset(x, x.pow(3) + self.hparams.noise * x)
        self.train_set, self.val_set = random_split(data, [16, 4], torch.Generator().manual_seed(0))

    def train_dataloader(self):
        self.calls.append("train_dataloader")
        self.epochs_seen += 1
        return DataLoader(self.train_set, batch_size=self.hparams.batch_size)

    def val_dataloader(self):
        self.calls.append("val_dataloader")
        return DataLoader(self.val_set, batch_size=self.hparams.batch_size)

    def test_dataloader(self):
        return self.val_dataloader()

    def predict_dataloader(self):
        return DataLoader(TensorDataset(torch.ones(3, 1)), batch_size=2)

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return [part * 2 for part in batch]

    def teardown(self, stage=None):
        self.calls.append(f"teardown {stage}")

    def state_dict(self):
        return {"epochs_seen": self.epochs_seen}

    def load_state_dict(self, state_dict):
        self.calls.append(f"load_state_dict {state_dict}")
        self.epochs_seen = state_dict["epochs_seen"]


class Model(pl.LightningModule):
    def __init__(self, lr: float = 0.1):
        super().__init__()
        self.save_hyperparameters()
        self.layer, self.losses = torch.nn.Linear(1, 1), []

    def forward(self, x):
        return self.layer(x)

    def training_step(self, batch, batch_idx):
        loss = (self(batch[0]) - batch[1]).pow(2).mean()
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val", (self(batch[0]) - batch[1]).abs().max(), reduce_fx=torch.max)

    test_step = validation_step

    def predict_step(self, batch, batch_idx):
        return self(batch[0]).flatten()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


def main(folder):
    pl.seed_everything(13)
    logger = pl.loggers.CSVLogger(folder, name="run", version=0)
    settings = {"accelerator": "cpu", "enable_progress_bar": False, "default_root_dir": folder}
    trainer = pl.Trainer(max_epochs=3, logger=logger, reload_dataloaders_every_n_epochs=2, **settings)
    data, model = Data(str(folder), batch_size=8), Model()
    trainer.fit(model, datamodule=data)
    path = trainer.checkpoint_callback.best_model_path
    tested, predicted = trainer.test(model, data), trainer.predict(model, data)
    loaded = Data.load_from_checkpoint(path, root=str(folder), noise=0.5)
    file = torch.load(path, weights_only=False)
    resumed = Data(str(folder), batch_size=8)
    pl.Trainer(max_epochs=4, logger=False, enable_checkpointing=False, **settings).fit(Model(), resumed, ckpt_path=path)
    parts = pl.LightningDataModule.from_datasets(data.train_set, data.val_set, batch_size=5, num_workers=0)
    observed = {
        "calls": data.calls,
        "losses": model.losses,
        "tested": tested,
        "predicted": [part.tolist() for part in predicted],
        "hparams": [dict(data.hparams), dict(loaded.hparams)],
        "file": [file["datamodule_hyper_parameters"], file["Data"]],
        "resumed": resumed.calls,
        "from_datasets": [len(parts.train_dataloader()), len(parts.val_dataloader())],
        "attached": trainer.datamodule is data,
    }
    (folder / "observed.json").write_text(json.dumps(observed, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
