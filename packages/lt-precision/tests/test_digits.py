from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lt_core import LightningModule, Trainer
from lt_datamodules import DigitsDataModule


class Classifier(LightningModule):
    """The network of the demo, without its pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10)
        )

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return self.loss(batch)

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        self.log("val_loss", self.loss(batch))

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        images, digits = batch
        return nn.functional.cross_entropy(self.network(images), digits)

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


@cache
def loss_after_training(precision: str) -> float:
    torch.manual_seed(0)
    trainer = Trainer(
        accelerator="cpu",
        precision=precision,
        max_epochs=4,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(Classifier(), datamodule=DigitsDataModule(batch_size=64))
    return float(trainer.callback_metrics["val_loss"])


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_mixed_precision_learns_digits_as_well_as_full_precision(precision: str) -> None:
    assert loss_after_training(precision) == pytest.approx(loss_after_training("32-true"), rel=0.02)
    assert loss_after_training("32-true") < 0.5
