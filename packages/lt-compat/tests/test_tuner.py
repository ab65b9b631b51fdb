import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import lt_callbacks
from lt_compat.tuner import Tuner
from lt_core import LightningModule, Trainer


class Fits(LightningModule):
    def __init__(self, learning_rate: float = 0.5) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = nn.Linear(2, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.layer(batch).pow(2).mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.hparams.learning_rate)


class Trusting(Tuner):
    """Lets the checkpoint be loaded that Lightning's tuner goes back to, whatever it holds, as libraries do."""

    def lr_find(self, *args: Any, **kwargs: Any) -> Any:
        strategy = self._trainer.strategy
        original = strategy.load_checkpoint
        strategy.load_checkpoint = functools.wraps(original)(functools.partial(original, weights_only=False))
        try:
            return super().lr_find(*args, **kwargs)
        finally:
            strategy.load_checkpoint = original


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )


def test_a_derived_tuner_that_wraps_how_checkpoints_are_loaded_finds_a_rate(trainer: Trainer) -> None:
    module = Fits()
    search = Trusting(trainer).lr_find(module, DataLoader(torch.ones(64, 2)), num_training=20)
    assert module.hparams.learning_rate == search.suggestion() != 0.5


def test_what_the_strategy_loads_with_reads_checkpoints(trainer: Trainer, tmp_path: Path) -> None:
    assert isinstance(Tuner(trainer), lt_callbacks.Tuner)
    trainer.fit(Fits(), DataLoader(torch.ones(4, 2)))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    Tuner(trainer)
    assert trainer.strategy.load_checkpoint(tmp_path / "last.ckpt")["global_step"] == 4  # type: ignore[attr-defined]
