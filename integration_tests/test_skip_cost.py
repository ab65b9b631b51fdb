"""Going on in the middle of an epoch reads nothing of what was seen before, and takes no time worth naming."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lt_core import LightningModule, Trainer
from lt_fabric import seed_everything

BATCH_SIZE = 1000
NUM_SKIPPED_BATCHES = 1000
NUM_BATCHES = 1002


class Counted(Dataset[int]):
    """A bit more than a million samples; counts how many were read."""

    def __init__(self) -> None:
        self.num_read = 0

    def __len__(self) -> int:
        return NUM_BATCHES * BATCH_SIZE

    def __getitem__(self, index: int) -> int:
        self.num_read += 1
        return index


class Trivial(LightningModule):
    """Keeps its batches; saves and stops after as many as it's told."""

    def __init__(self, save_at: Path | None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.save_at = save_at
        self.batches: list[Tensor] = []
        self.first_at = 0.0

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        if not self.batches:
            self.first_at = time.process_time()
        self.batches.append(batch)
        return self.weight.sum()

    def on_train_batch_end(self, outputs: Any, batch: Tensor, batch_idx: int) -> None:
        if self.save_at is not None and batch_idx == NUM_SKIPPED_BATCHES - 1:
            self.trainer.save_checkpoint(self.save_at)
            self.trainer.should_stop = True

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@dataclass
class Part:
    """What a run, or the part of it after a resume, has read."""

    batches: list[Tensor]
    num_read: int
    seconds_to_first_batch: float


def train(root: Path, *, shuffle: bool, save_at: Path | None = None, ckpt_path: Path | None = None) -> Part:
    """Train for an epoch, or until a checkpoint was saved in the middle of it."""
    seed_everything(1, verbose=False)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        default_root_dir=root,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data, model = Counted(), Trivial(save_at)
    began_at = time.process_time()
    trainer.fit(model, DataLoader(data, batch_size=BATCH_SIZE, shuffle=shuffle), ckpt_path=ckpt_path)
    return Part(model.batches, data.num_read, model.first_at - began_at)


# Loading in this process is on purpose: its CPU time and its reads are what's measured.
@pytest.mark.parametrize("shuffle", [False, True], ids=["in order", "shuffled"])
@pytest.mark.filterwarnings("ignore:.*num_workers.*")
def test_a_million_samples_are_skipped_without_reading_one(tmp_path: Path, shuffle: bool) -> None:
    saved = tmp_path / "saved.ckpt"
    first = train(tmp_path, shuffle=shuffle, save_at=saved)
    fresh = train(tmp_path, shuffle=shuffle)
    rest = train(tmp_path, shuffle=shuffle, ckpt_path=saved)

    assert len(first.batches) == NUM_SKIPPED_BATCHES
    assert rest.num_read == (NUM_BATCHES - NUM_SKIPPED_BATCHES) * BATCH_SIZE
    expected = fresh.batches[NUM_SKIPPED_BATCHES:]
    assert [batch.tolist() for batch in rest.batches] == [batch.tolist() for batch in expected]
    # CPU time, so that a busy machine doesn't matter.
    assert rest.seconds_to_first_batch - fresh.seconds_to_first_batch < 1.0
