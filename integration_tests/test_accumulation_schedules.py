"""Accumulation that changes with the epoch: steps, gradients and resumes are those of the schedule."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lt_callbacks import GradientAccumulationScheduler, LambdaCallback, ModelCheckpoint
from lt_core import LightningModule, Trainer

DATA = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
SCHEDULE = {1: 3, 2: 2}  # five batches an epoch: windows of 1, of 3 and 2, of 2, 2 and 1


class Net(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)
        nn.init.constant_(self.layer.weight, 0.5)
        nn.init.zeros_(self.layer.bias)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.loss(batch)

    def loss(self, batch: Tensor) -> Tensor:
        return (self.layer(batch) - 1).square().mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


def fit(root: Path, *callbacks: Any, net: Net | None = None, ckpt_path: Any = None) -> tuple[Net, list[Any]]:
    """Fit for three epochs; returns the module, and the epoch, steps and micro-batches per step after each batch."""
    warnings.simplefilter("ignore")
    net, seen = net or Net(), []

    def note(trainer: Any, *rest: Any) -> None:
        seen.append((trainer.current_epoch, trainer.global_step, trainer.accumulate_grad_batches))

    trainer = Trainer(
        accelerator="cpu",
        max_epochs=3,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
        default_root_dir=root,
        callbacks=[GradientAccumulationScheduler(SCHEDULE), LambdaCallback(on_train_batch_end=note), *callbacks],
    )
    trainer.fit(net, DataLoader(DATA, batch_size=2), ckpt_path=ckpt_path)  # type: ignore[arg-type]
    return net, seen


def weights(net: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(net.parameters()).detach()


def test_steps_are_those_of_the_schedule(tmp_path: Path) -> None:
    _, seen = fit(tmp_path)
    assert [steps for _, steps, _ in seen] == [1, 2, 3, 4, 5, 5, 5, 6, 6, 7, 7, 8, 8, 9, 10]
    assert [number for *_, number in seen] == [1] * 5 + [3] * 5 + [2] * 5


def test_weights_are_those_of_a_loop_written_out(tmp_path: Path) -> None:
    net = Net()
    optimizer = net.configure_optimizers()
    for windows in ([2] * 5, [6, 4], [4, 4, 2]):
        for samples in DATA.split(windows):
            optimizer.zero_grad()
            net.loss(samples).backward()
            optimizer.step()
    assert torch.allclose(weights(fit(tmp_path)[0]), weights(net), atol=1e-6)


@pytest.mark.parametrize("batches", range(1, 15))
def test_a_run_resumed_after_any_batch_comes_to_the_same_weights(batches: int, tmp_path: Path) -> None:
    path, left = tmp_path / "saved.ckpt", [batches]

    def save(trainer: Any, *rest: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            trainer.save_checkpoint(path)

    whole, seen = fit(tmp_path, LambdaCallback(on_train_batch_end=save))
    resumed, rest = fit(tmp_path, ckpt_path=path)
    assert rest == seen[batches:]
    assert torch.equal(weights(resumed), weights(whole))


def test_the_estimate_of_steps_is_what_training_takes(tmp_path: Path) -> None:
    class Asks(Net):
        estimate: Any = None

        def configure_optimizers(self) -> Any:
            self.estimate = self.trainer.estimated_stepping_batches
            return super().configure_optimizers()

    net, seen = fit(tmp_path, net=Asks())
    assert net.estimate == seen[-1][1] == 10
