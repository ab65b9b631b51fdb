"""A small GAN by manual optimization: two optimizers, toggled, two schedulers, sampling after each epoch."""

import json
import sys
from pathlib import Path

import lightning_fabric
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader


class GAN(LightningModule):
    def __init__(self, latent: int = 4, lr: float = 0.01):
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.generator = nn.Sequential(nn.Linear(latent, 16), nn.ReLU(), nn.Linear(16, 2))
        self.discriminator = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
        self.register_buffer("fixed_z", torch.randn(4, latent))
        self.seen = {"g": [], "d": [], "lr": [], "samples": [], "frozen": []}

    def adversarial_loss(self, x, real):
        target = torch.full((len(x), 1), float(real), device=self.device)
        return nn.functional.binary_cross_entropy_with_logits(self.discriminator(x), target)

    def training_step(self, batch, batch_idx):
        g_opt, d_opt = self.optimizers()
        z = torch.randn(len(batch), self.hparams.latent, device=self.device)

        self.toggle_optimizer(g_opt)
        self.seen["frozen"].append(any(p.requires_grad for p in self.discriminator.parameters()))
        g_loss = self.adversarial_loss(self.generator(z), True)
        g_opt.zero_grad()
        self.manual_backward(g_loss)
        g_opt.step()
        self.untoggle_optimizer(g_opt)

        self.toggle_optimizer(d_opt)
        fake = self.generator(z).detach()
        d_loss = (self.adversarial_loss(batch, True) + self.adversarial_loss(fake, False)) / 2
        d_opt.zero_grad()
        self.manual_backward(d_loss)
        d_opt.step()
        self.untoggle_optimizer(d_opt)

        self.seen["g"].append(g_loss.item())
        self.seen["d"].append(d_loss.item())
        self.log_dict({"g_loss": g_loss, "d_loss": d_loss}, prog_bar=True)

    def on_train_epoch_end(self):
        for scheduler in self.lr_schedulers():
            scheduler.step()
        self.seen["lr"].append([opt.param_groups[0]["lr"] for opt in self.optimizers()])
        with torch.no_grad():
            self.seen["samples"].append(self.generator(self.fixed_z).tolist())

    def configure_optimizers(self):
        g_opt = torch.optim.Adam(self.generator.parameters(), lr=self.hparams.lr, betas=(0.5, 0.999))
        d_opt = torch.optim.Adam(self.discriminator.parameters(), lr=self.hparams.lr / 2, betas=(0.5, 0.999))
        gamma = torch.optim.lr_scheduler.ExponentialLR
        return [g_opt, d_opt], [gamma(g_opt, 0.9), gamma(d_opt, 0.8)]


def main(folder):
    lightning_fabric.seed_everything(5)
    real = torch.randn(48, 2) * 0.2 + torch.tensor([1.0, -1.0])
    model = GAN()
    checkpoint = ModelCheckpoint(folder / "checkpoints", every_n_train_steps=12, save_top_k=-1)
    trainer = Trainer(
        max_epochs=3, accelerator="cpu", devices=1, callbacks=[checkpoint], log_every_n_steps=1,
        logger=CSVLogger(folder, name="gan", version="first"), default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(model, DataLoader(real, batch_size=12, shuffle=True))
    observed = {**model.seen, "step": trainer.global_step, "epoch": trainer.current_epoch}
    (folder / "observed.json").write_text(json.dumps(observed, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
