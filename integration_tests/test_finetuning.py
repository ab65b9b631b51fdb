"""Finetuning in real runs: what's unfrozen is trained, also after a resume and on several ranks."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from finetuning_ranks import DATA, Net, SavesAfter, finetune, fit
from torch import Tensor, nn

from lt_callbacks import BackboneFinetuning, GradientAccumulationScheduler, LambdaCallback
from lt_interfaces.testing.ranks import run_in_processes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("ranks"))


@cache
def on_ranks(folder: str) -> list[dict[str, Tensor]]:
    """Finetune in every way in one job, as starting its processes is what takes time."""
    return run_in_processes(finetune, folder, timeout_seconds=120)


def by_hand() -> Tensor:
    """Finetune in a loop written out."""
    net = Net()
    optimizer = torch.optim.Adam(net.head.parameters(), lr=0.1)
    rate = 0.1 * 0.1
    for epoch in range(4):
        if epoch == 1:
            optimizer.add_param_group({"params": list(net.backbone.parameters()), "lr": rate})
        if epoch > 1:
            rate *= 2.0
            optimizer.param_groups[1]["lr"] = min(rate, 0.1)
        for batch in DATA.split(2):
            optimizer.zero_grad()
            net.training_step(batch, 0).backward()
            optimizer.step()
    return net.weights


def test_weights_are_those_of_a_loop_written_out(tmp_path: Path) -> None:
    assert torch.equal(fit(tmp_path).weights, by_hand())


@pytest.mark.parametrize("batches", [1, 5, 6, 7, 11, 12, 13, 23])
def test_a_run_resumed_after_any_batch_comes_to_the_same_weights(batches: int, tmp_path: Path) -> None:
    path = tmp_path / "saved.ckpt"
    whole = fit(tmp_path, SavesAfter(batches, path))
    resumed = fit(tmp_path, ckpt_path=path)
    assert torch.equal(resumed.weights, whole.weights)
    assert all(parameter.requires_grad for parameter in resumed.parameters())


def test_a_checkpoint_of_an_epochs_end_goes_on_the_same(tmp_path: Path) -> None:
    for epoch in range(3):
        path = tmp_path / f"{epoch}.ckpt"

        def save(trainer: Any, *rest: Any, path: Path = path, epoch: int = epoch) -> None:
            if trainer.current_epoch == epoch:
                trainer.save_checkpoint(path)

        whole = fit(tmp_path, LambdaCallback(on_train_epoch_end=save))
        assert torch.equal(fit(tmp_path, ckpt_path=path).weights, whole.weights)


def test_a_frozen_batch_norm_is_as_it_was_after_a_resume(tmp_path: Path) -> None:
    class Normed(Net):
        def __init__(self) -> None:
            super().__init__()
            self.backbone.append(nn.BatchNorm1d(4))

    def finetuning() -> BackboneFinetuning:
        return BackboneFinetuning(1, train_bn=False)

    path = tmp_path / "saved.ckpt"
    whole = fit(tmp_path, net=Normed(), callbacks=[finetuning(), SavesAfter(8, path)])
    resumed = fit(tmp_path, net=Normed(), callbacks=[finetuning()], ckpt_path=path)
    assert torch.equal(resumed.weights, whole.weights)
    for layer in (whole.backbone[3], resumed.backbone[3]):
        assert torch.equal(layer.running_mean, torch.zeros(4))
        assert torch.equal(layer.weight, torch.ones(4))


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_ranks_come_to_the_same_weights_after_unfreezing(strategy: str, folder: str) -> None:
    first, second = (rank[strategy] for rank in on_ranks(folder))
    assert torch.equal(first, second)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp", "accumulated"])
def test_ranks_come_to_what_one_process_comes_to(strategy: str, folder: str, tmp_path: Path) -> None:
    alone = fit(tmp_path, batch_size=4).weights
    assert torch.allclose(on_ranks(folder)[0][strategy], alone, atol=1e-5)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_ranks_that_are_resumed_come_to_the_same_weights(strategy: str, folder: str) -> None:
    for rank in on_ranks(folder):
        assert torch.equal(rank[f"{strategy} resumed"], rank[strategy])


def test_a_schedule_of_accumulation_comes_to_the_same_on_ranks(folder: str, tmp_path: Path) -> None:
    alone = fit(tmp_path, callbacks=[GradientAccumulationScheduler({1: 3})]).weights
    for rank in on_ranks(folder):
        assert torch.allclose(rank["scheduled"], alone, atol=1e-5)
