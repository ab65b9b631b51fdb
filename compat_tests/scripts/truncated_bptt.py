"""Truncated back-propagation through time: a batch is cut along its time, and the hidden state goes on."""

import json
import sys
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.core.module import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Forecaster(LightningModule):
    def __init__(self, hidden=8, piece=5):
        super().__init__()
        self.automatic_optimization = False
        self.piece = piece
        self.lstm = nn.LSTM(1, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 1)
        self.seen = {"losses": [], "lr": [], "norms": [], "wrapped": []}

    def split(self, batch):
        xs, ys = batch
        return list(zip(xs.split(self.piece, dim=1), ys.split(self.piece, dim=1), strict=True))

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        self.seen["wrapped"].append(isinstance(optimizer, LightningOptimizer))
        hidden, losses = None, []
        for x, y in self.split(batch):
            out, hidden = self.lstm(x, hidden)
            loss = nn.functional.mse_loss(self.head(out), y)
            optimizer.zero_grad()
            self.manual_backward(loss)
            self.clip_gradients(optimizer, gradient_clip_val=0.1, gradient_clip_algorithm="norm")
            self.seen["norms"].append(sum(p.grad.pow(2).sum() for p in self.parameters()).sqrt().item())
            optimizer.step()
            hidden = tuple(state.detach() for state in hidden)
            losses.append(loss.detach())
        self.lr_schedulers().step()
        self.seen["losses"].append(torch.stack(losses).tolist())
        self.seen["lr"].append(optimizer.param_groups[0]["lr"])
        self.log("loss", torch.stack(losses).mean(), on_step=True, on_epoch=True)
        return {"loss": loss.detach(), "pieces": len(losses)}

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.seen.setdefault("outputs", []).append([outputs["loss"].item(), outputs["pieces"]])

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=0.02)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def main(folder):
    pl.seed_everything(1)
    times = torch.linspace(0, 6, 21)
    waves = torch.sin(times + torch.rand(8, 1) * 3).unsqueeze(-1)
    model = Forecaster()
    trainer = pl.Trainer(max_epochs=2, accelerator="cpu", default_root_dir=folder, log_every_n_steps=1, logger=True)
    trainer.fit(model, DataLoader(TensorDataset(waves[:, :-1], waves[:, 1:]), batch_size=4))
    observed = {
        **model.seen,
        "step": trainer.global_step,
        "metrics": {key: value.item() for key, value in sorted(trainer.callback_metrics.items())},
    }
    (folder / "observed.json").write_text(json.dumps(observed, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
