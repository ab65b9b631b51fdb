from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lt


class Collects(lt.LightningModule):
    """Keeps every training batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)
        self.images: list[Tensor] = []

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        self.images.append(images.clone())
        return nn.functional.cross_entropy(self.layer(images.flatten(1)), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def images_of(root: Path, num_workers: int, **arguments: Any) -> Tensor:
    """Train on augmented digits for two epochs, as the demo does, and return every image in order."""
    lt.seed_everything(7, verbose=False)
    module = Collects()
    data = lt.datamodules.DigitsDataModule(batch_size=128, augment=True, num_workers=num_workers)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "default_root_dir": root}
    trainer = lt.Trainer(max_epochs=2, limit_val_batches=0, enable_model_summary=False, **quiet, **arguments)  # type: ignore[arg-type]
    trainer.fit(module, datamodule=data)
    return torch.cat(module.images)


@pytest.fixture(scope="module")
def without_workers(tmp_path_factory: pytest.TempPathFactory) -> Tensor:
    return images_of(tmp_path_factory.mktemp("run"), 0, seed_items=True)


def test_demos_batches_are_the_same_with_and_without_workers(tmp_path: Path, without_workers: Tensor) -> None:
    assert torch.equal(images_of(tmp_path, 2, seed_items=True), without_workers)


def test_without_seeding_workers_draw_other_numbers(tmp_path: Path, without_workers: Tensor) -> None:
    assert not torch.equal(images_of(tmp_path, 2), without_workers)


class SavesAt(lt.Callback):
    """Saves a checkpoint after some batch."""

    def __init__(self, path: Path, batch: int) -> None:
        self.path, self.batch = path, batch

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) == (1, self.batch):
            trainer.save_checkpoint(self.path)


def test_resume_takes_the_items_up_with_the_seed_of_the_run(tmp_path: Path, without_workers: Tensor) -> None:
    path = tmp_path / "mid.ckpt"
    images_of(tmp_path, 2, seed_items=True, callbacks=[SavesAt(path, batch=3)])
    lt.seed_everything(8, verbose=False)
    module = Collects()
    data = lt.datamodules.DigitsDataModule(batch_size=128, augment=True, num_workers=1)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "default_root_dir": tmp_path}
    trainer = lt.Trainer(  # type: ignore[arg-type]
        max_epochs=2, limit_val_batches=0, enable_model_summary=False, seed_items=True, **quiet
    )
    trainer.fit(module, datamodule=data, ckpt_path=path)
    resumed = torch.cat(module.images)
    assert torch.equal(resumed, without_workers[-len(resumed) :])
    assert len(resumed) == len(without_workers) // 2 - 4 * 128
