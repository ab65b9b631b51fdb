"""What users write, once for all frameworks: `twin` puts a framework's base class under it."""

from functools import cache
from typing import Any

import torch
from sides import Side
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader


def rows(seed: int = 0) -> DataLoader[Tensor]:
    """Give four batches of three rows, the same every time."""
    data = torch.randn(12, 3, generator=torch.Generator().manual_seed(seed))
    return DataLoader(data, batch_size=3)  # type: ignore[arg-type]  # a tensor is a dataset


def rounded(value: Tensor) -> Tensor:
    """Return the nearest 1/256: sums of such values are exact, in whatever order a framework takes its means."""
    return (value * 256).round() / 256


class Net:
    """Adam, and a learning rate that falls with every epoch."""

    def __init__(self, lr: float = 0.05, *, width: int = 4) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 1))
        for number, parameter in enumerate(self.net.parameters()):
            nn.init.uniform_(parameter, -0.5, 0.5, generator=torch.Generator().manual_seed(number))

    def loss(self, batch: Tensor) -> Tensor:
        return (self.net(batch) - batch.sum(1, keepdim=True)).square().mean()

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val_loss", rounded(self.loss(batch)))

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("test_loss", self.loss(batch))

    def predict_step(self, batch: Tensor, batch_idx: int) -> Any:
        return self.net(batch)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams.lr)
        return [optimizer], [StepLR(optimizer, 1, gamma=0.7)]


class StepwiseNet(Net):
    """A learning rate that falls with every third optimizer step."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams.lr)
        scheduler = StepLR(optimizer, 3, gamma=0.7)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class PlateauNet(Net):
    """A learning rate that falls when validation gets no better."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams.lr, momentum=0.9)
        scheduler = ReduceLROnPlateau(optimizer, patience=0, threshold=0.2, factor=0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val_loss"}}


class ManualNet(Net):
    """Steps two optimizers by itself, and a scheduler of each now and then."""

    def __init__(self, lr: float = 0.05, *, width: int = 4) -> None:
        super().__init__(lr, width=width)
        self.automatic_optimization = False

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        first, second = self.optimizers()
        for optimizer in (first, second) if batch_idx % 2 else (first,):
            optimizer.zero_grad()
            loss = self.loss(batch)
            self.manual_backward(loss)
            optimizer.step()
        self.log("loss", loss)
        if self.trainer.is_last_batch:
            for scheduler in self.lr_schedulers():
                scheduler.step()

    def configure_optimizers(self) -> Any:
        optimizers = [
            torch.optim.Adam(self.net[0].parameters(), lr=self.hparams.lr),
            torch.optim.SGD(self.net[2].parameters(), lr=self.hparams.lr, momentum=0.9),
        ]
        return optimizers, [StepLR(optimizer, 1, gamma=0.7) for optimizer in optimizers]


class Data:
    """A datamodule with hyper-parameters and a state."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.batches_given = 0

    def train_dataloader(self) -> DataLoader[Tensor]:
        return rows(self.hparams.seed)

    def val_dataloader(self) -> DataLoader[Tensor]:
        return rows(self.hparams.seed + 1)

    def on_after_batch_transfer(self, batch: Tensor, dataloader_idx: int) -> Tensor:
        self.batches_given += 1
        return batch

    def state_dict(self) -> dict[str, Any]:
        return {"batches_given": self.batches_given}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.batches_given = state_dict["batches_given"]


class Journal:
    """A callback that keeps the losses, and adds to the file."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.epochs: list[int] = []
        self.batches: list[tuple[int, int]] = []
        self.found: Any = None

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.epochs.append(trainer.current_epoch)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.batches.append((trainer.current_epoch, batch_idx))
        self.losses.append(float(trainer.callback_metrics["loss"]))

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["journal"] = {"at": trainer.global_step}

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self.found = checkpoint["journal"]

    def state_dict(self) -> dict[str, Any]:
        return {"losses": self.losses}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.losses = list(state_dict["losses"])


_BASES = {Net: "LightningModule", Data: "LightningDataModule", Journal: "Callback"}


@cache
def twin(written: type, side: Side) -> Any:
    """Return a class as a user of this framework has it."""
    base = next(name for root, name in _BASES.items() if issubclass(written, root))
    return type(written.__name__, (written, getattr(side, base)), {})
