"""A classifier with dropout and a shuffled loader: it keeps its two best checkpoints and stops early."""

import json
import sys
from pathlib import Path

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class Classifier(L.LightningModule):
    def __init__(self, width=16, lr=0.05):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Dropout(0.2), nn.Linear(width, 3))
        self.losses = []
        self.val_losses = []

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        self.losses.append(loss.item())
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self._evaluate(batch, "val")

    def test_step(self, batch, batch_idx):
        self._evaluate(batch, "test")

    def _evaluate(self, batch, stage):
        x, y = batch
        logits = self(x)
        self.log(f"{stage}_loss", F.cross_entropy(logits, y), prog_bar=True)
        self.log(f"{stage}_acc", (logits.argmax(1) == y).float().mean())

    def on_validation_epoch_end(self):
        self.val_losses.append(self.trainer.callback_metrics["val_loss"].item())

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=self.hparams.lr)


def main(folder):
    L.seed_everything(11, workers=True)
    x = torch.randn(120, 8)
    y = (x[:, 0] + 0.3 * torch.randn(120) > 0).long() + (x[:, 1] > 0.5).long()
    train, val, test = random_split(TensorDataset(x, y), [80, 22, 18], torch.Generator().manual_seed(3))

    checkpoint = ModelCheckpoint(monitor="val_loss", save_top_k=2, filename="{epoch}-{val_loss:.3f}")
    stopping = EarlyStopping("val_loss", patience=2, mode="min")
    trainer = L.Trainer(
        max_epochs=12, accelerator="cpu", callbacks=[checkpoint, stopping], default_root_dir=folder, log_every_n_steps=2
    )
    model = Classifier()
    trainer.fit(model, DataLoader(train, batch_size=10, shuffle=True), DataLoader(val, batch_size=8))
    tested = trainer.test(model, DataLoader(test, batch_size=8), ckpt_path="best")

    observed = {
        "losses": model.losses,
        "val_losses": model.val_losses,
        "stopped_epoch": stopping.stopped_epoch,
        "waited": stopping.wait_count,
        "epoch": trainer.current_epoch,
        "step": trainer.global_step,
        "best": Path(checkpoint.best_model_path).name,
        "best_score": checkpoint.best_model_score.item(),
        "kept": sorted(Path(path).name for path in checkpoint.best_k_models),
        "tested": tested,
        "log_dir": str(Path(trainer.log_dir).relative_to(folder)),
    }
    (folder / "observed.json").write_text(json.dumps(observed, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
