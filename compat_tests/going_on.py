"""Trains for two epochs, or with a checkpoint goes on to the fourth, whoever wrote the checkpoint."""

import json
import sys
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset


class Net(L.LightningModule):
    def __init__(self, lr: float = 0.05, sizes: tuple[int, ...] = (4, 6)) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(torch.nn.Linear(*sizes), torch.nn.Tanh(), torch.nn.Linear(sizes[-1], 1))
        self.losses: list[float] = []

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        loss = (self.net(batch[0]) - batch[1]).pow(2).mean()
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        self.log("val", (self.net(batch[0]) - batch[1]).abs().mean())

    def configure_optimizers(self) -> object:
        optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams["lr"])
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.7)]


def main(folder: Path, checkpoint: str | None) -> None:
    L.seed_everything(7)
    x = torch.randn(20, 4)
    data = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=4)
    keep = ModelCheckpoint(folder, monitor="val", filename="best", save_last=True, enable_version_counter=False)
    trainer = L.Trainer(
        max_epochs=4 if checkpoint else 2,
        accelerator="cpu",
        callbacks=[keep, EarlyStopping("val")],
        logger=False,
        enable_progress_bar=False,
    )
    net = Net()
    trainer.fit(net, data, data, ckpt_path=checkpoint)
    loaded = Net.load_from_checkpoint(checkpoint or keep.best_model_path, lr=0.5)
    observed = {
        "losses": net.losses,
        "step": trainer.global_step,
        "best": keep.best_model_score.item(),
        "hparams": {key: str(value) for key, value in sorted(loaded.hparams.items())},
        "loaded": trainer.validate(loaded, data, verbose=False),
    }
    (folder / "observed.json").write_text(json.dumps(observed, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
