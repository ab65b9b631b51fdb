"""Accumulated gradients and clipping: windows of several sizes, by value and by norm, and hooks of one's own."""

import json
import sys
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.utilities import grad_norm
from torch.utils.data import DataLoader, TensorDataset


class Model(pl.LightningModule):
    def __init__(self, own_clipping=False):
        super().__init__()
        self.own_clipping = own_clipping
        self.net = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1))
        self.seen = {"losses": [], "norms": [], "clipped": [], "outputs": [], "steps": [], "zeroed": []}

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = 10 * (self.net(x) - y).pow(2).mean()
        self.seen["losses"].append(loss.item())
        self.log("loss", loss, on_epoch=True)
        return {"loss": loss, "size": len(x)}

    def on_before_optimizer_step(self, optimizer):
        norms = grad_norm(self, norm_type=2)
        self.seen["norms"].append({key: float(value) for key, value in sorted(norms.items())})

    def configure_gradient_clipping(self, optimizer, gradient_clip_val, gradient_clip_algorithm):
        value = 0.25 if self.own_clipping else gradient_clip_val
        self.clip_gradients(optimizer, gradient_clip_val=value, gradient_clip_algorithm=gradient_clip_algorithm)
        self.seen["clipped"].append([gradient_clip_val, gradient_clip_algorithm])
        self.seen["clipped"].append(max(p.grad.abs().max().item() for p in self.parameters()))

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None):
        self.seen["steps"].append([epoch, batch_idx])
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)

    def optimizer_zero_grad(self, epoch, batch_idx, optimizer):
        self.seen["zeroed"].append([epoch, batch_idx])
        super().optimizer_zero_grad(epoch, batch_idx, optimizer)

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.seen["outputs"].append([outputs["loss"].item(), outputs["size"]])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.02)


CASES = {
    "plain": {},
    "two": {"accumulate_grad_batches": 2},
    "two, short window": {"accumulate_grad_batches": 2, "limit_train_batches": 5},
    "norm": {"gradient_clip_val": 0.5},
    "value": {"gradient_clip_val": 0.2, "gradient_clip_algorithm": "value"},
    "three, norm": {"accumulate_grad_batches": 3, "gradient_clip_val": 1, "gradient_clip_algorithm": "norm"},
    "scheduled": {"callbacks": [GradientAccumulationScheduler({0: 1, 1: 3})]},
    "max_steps": {"accumulate_grad_batches": 2, "max_steps": 4},
}


def main(folder):
    observed = {}
    for name, settings in CASES.items():
        pl.seed_everything(30)
        x = torch.randn(24, 4)
        model = Model()
        trainer = pl.Trainer(
            accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=folder, **{"max_epochs": 2, **settings},
        )  # fmt: skip
        trainer.fit(model, DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=4))
        observed[name] = {**model.seen, "step": trainer.global_step, "loss": trainer.callback_metrics["loss"].item()}
        observed[name]["estimated"] = trainer.estimated_stepping_batches
    (folder / "observed.json").write_text(json.dumps(observed, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
