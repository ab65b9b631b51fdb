"""A run may go on with another number of loader workers: samples and weights of each step stay the same."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lt_core import LightningModule, Trainer
from lt_fabric import seed_everything
from lt_interfaces.callback import Callback
from lt_interfaces.testing import TinyRegressor

NUM_BATCHES = 10


class Numbered(Dataset[tuple[int, Tensor, Tensor]]):
    """Items that say which they are, and don't depend on chance."""

    def __init__(self) -> None:
        self.inputs = torch.randn(4 * NUM_BATCHES, 4, generator=torch.Generator().manual_seed(5))

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[int, Tensor, Tensor]:
        return index, self.inputs[index], self.inputs[index, :1]


class Learns(LightningModule):
    """Learns with dropout and keeps the ids of the samples of every step."""

    def __init__(self) -> None:
        super().__init__()
        self.network = torch.nn.Sequential(torch.nn.Dropout(0.2), TinyRegressor())
        self.ids: list[list[int]] = []

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> Tensor:
        indices, inputs, targets = batch
        self.ids.append(indices.tolist())
        return torch.nn.functional.mse_loss(self.network(inputs), targets)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.02)


class StopAndSave(Callback):
    """Saves after a batch and ends the run there, in the middle of an epoch."""

    def __init__(self, after: int, path: Path) -> None:
        self.after = after
        self.path = path

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if len(pl_module.ids) == self.after:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True


def train(num_workers: int, root: Path, *, stop_after: int | None = None, goes_on_from: Path | None = None) -> Learns:
    """Train in this process for two epochs, or a part of them."""
    seed_everything(1 if goes_on_from is None else 2, verbose=False)
    model = Learns()
    callbacks: list[Callback] = [] if stop_after is None else [StopAndSave(stop_after, root / "saved.ckpt")]
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=2,
        callbacks=callbacks,
        default_root_dir=root,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(Numbered(), batch_size=4, shuffle=True, num_workers=num_workers)
    trainer.fit(model, loader, ckpt_path=goes_on_from)
    return model


# Items aren't random, so nothing is lost without seeding them; both messages are about loaders in general.
@pytest.mark.filterwarnings("ignore:.*worker.*", "ignore:.*seed_items.*")
def test_samples_and_weights_dont_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    whole = train(0, tmp_path / "whole")
    first = train(0, tmp_path / "first", stop_after=3)
    second = train(3, tmp_path / "second", stop_after=4, goes_on_from=tmp_path / "first" / "saved.ckpt")
    third = train(0, tmp_path / "third", goes_on_from=tmp_path / "second" / "saved.ckpt")
    assert [len(part.ids) for part in (first, second, third)] == [3, 4, 13]
    assert first.ids + second.ids + third.ids == whole.ids
    for name, value in whole.state_dict().items():
        assert torch.equal(value, third.state_dict()[name]), name
