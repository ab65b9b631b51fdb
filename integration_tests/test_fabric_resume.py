"""A loop of one's own that was killed after any step goes on as if it hadn't been: same samples, losses and weights."""

import os
import random
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from lt_fabric import Fabric, seed_everything
from lt_fabric.data import ResumableLoader, with_seeded_items

EPOCHS = 2
BATCHES = 4
STEPS = EPOCHS * BATCHES


class Killed(Exception):
    """Stands for whatever ends a run."""


class Augmented(Dataset[tuple[int, Tensor]]):
    """Items that say which they are, with noise from each kind of generator."""

    def __init__(self) -> None:
        self.inputs = torch.randn(4 * BATCHES - 1, 4, generator=torch.Generator().manual_seed(5))

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[int, Tensor]:
        noise = random.random() + np.random.random() + torch.rand(())
        return index, self.inputs[index] + 0.1 * noise


@dataclass
class Settings:
    """How one process runs; what's learnt doesn't depend on it."""

    path: Path
    num_workers: int = 0
    seeds_items: bool = True
    save_every: int = 1
    kill_after: int | None = None
    kills_itself: bool = False


class Run:
    """The user's script: everything is made anew in each process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.fabric = Fabric(accelerator="cpu")
        seed_everything(1 if not settings.path.exists() else 2, verbose=False)
        network = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.Linear(8, 1))
        model, optimizer = self.fabric.setup(network, torch.optim.Adam(network.parameters(), lr=0.05))
        loader = DataLoader(Augmented(), 4, shuffle=True, num_workers=settings.num_workers)
        if settings.seeds_items:
            loader = with_seeded_items(loader, seed=7)
        self.data = ResumableLoader(self.fabric.setup_dataloaders(loader))
        self.state: dict[str, Any] = {"model": model, "optimizer": optimizer, "data": self.data, "step": 0}
        self.seen: list[Any] = []
        """From each step, and what was drawn between epochs."""

    def train(self) -> "Run":
        if self.settings.path.exists():
            self.fabric.load(self.settings.path, self.state)
        while self.data.epoch < EPOCHS:
            for batch in self.data:
                self._step(batch)
                self.state["step"] += 1
                if self.state["step"] % self.settings.save_every == 0:
                    self.fabric.save(self.settings.path, self.state)
                self._die_when_due()
            self.seen.append(("validated", self.data.epoch, torch.rand(()).item()))
            self.fabric.save(self.settings.path, self.state)
        return self

    @property
    def weights(self) -> dict[str, Tensor]:
        return dict(self.state["model"].state_dict())

    def _step(self, batch: tuple[Tensor, Tensor]) -> None:
        indices, inputs = batch
        model, optimizer = self.state["model"], self.state["optimizer"]
        loss = model(inputs).square().mean() + random.random() * np.random.random()
        self.fabric.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        self.seen.append((self.data.epoch, self.data.batches_done, indices.tolist(), inputs.sum().item(), loss.item()))

    def _die_when_due(self) -> None:
        if self.state["step"] != self.settings.kill_after:
            return
        if self.settings.kills_itself:
            os.kill(os.getpid(), signal.SIGKILL)
        raise Killed


def assert_goes_on_exactly(settings: Settings, uninterrupted: Run) -> Run:
    resumed = Run(settings).train()
    assert len(resumed.seen) > 0
    assert resumed.seen == uninterrupted.seen[-len(resumed.seen) :]
    assert resumed.state["step"] == STEPS
    assert all(torch.equal(weight, uninterrupted.weights[name]) for name, weight in resumed.weights.items())
    moments = resumed.state["optimizer"].state_dict()["state"]
    expected = uninterrupted.state["optimizer"].state_dict()["state"]
    assert all(torch.equal(moments[index]["exp_avg"], expected[index]["exp_avg"]) for index in expected)
    return resumed


def remaining_after(step: int, save_every: int) -> int:
    """Return how many entries a run killed after a step has still to see; each epoch's end has one, and saves."""
    ended = (step - 1) // BATCHES  # the end of the epoch of this step isn't reached
    resumed_at = max(step // save_every * save_every, ended * BATCHES)
    return STEPS - resumed_at + EPOCHS - ended


@pytest.mark.parametrize("num_workers", [0, 2])
def test_loop_killed_after_any_step_goes_on_exactly(num_workers: int, tmp_path: Path) -> None:
    uninterrupted = Run(Settings(tmp_path / "whole.ckpt", num_workers)).train()
    for step in range(1, STEPS + 1):
        path = tmp_path / f"killed-{step}.ckpt"
        with pytest.raises(Killed):
            Run(Settings(path, num_workers, kill_after=step)).train()
        assert_goes_on_exactly(Settings(path, num_workers), uninterrupted)
        assert len(Run(Settings(path)).train().seen) == 0, "nothing is left of a run that has ended"


def test_steps_since_the_last_save_are_repeated_exactly(tmp_path: Path) -> None:
    uninterrupted = Run(Settings(tmp_path / "whole.ckpt")).train()
    for step in range(3, STEPS + 1):
        path = tmp_path / f"killed-{step}.ckpt"
        with pytest.raises(Killed):
            Run(Settings(path, save_every=3, kill_after=step)).train()
        resumed = assert_goes_on_exactly(Settings(path), uninterrupted)
        assert len(resumed.seen) == remaining_after(step, 3)


def test_items_that_draw_from_the_generators_of_training_go_on_exactly(tmp_path: Path) -> None:
    uninterrupted = Run(Settings(tmp_path / "whole.ckpt", seeds_items=False)).train()
    for step in range(1, STEPS + 1):
        path = tmp_path / f"killed-{step}.ckpt"
        with pytest.raises(Killed):
            Run(Settings(path, seeds_items=False, kill_after=step)).train()
        assert_goes_on_exactly(Settings(path, seeds_items=False), uninterrupted)


@pytest.mark.parametrize("then", [0, 2])
def test_loop_may_go_on_with_another_number_of_workers(then: int, tmp_path: Path) -> None:
    uninterrupted = Run(Settings(tmp_path / "whole.ckpt", num_workers=2 - then)).train()
    path = tmp_path / "killed.ckpt"
    with pytest.raises(Killed):
        Run(Settings(path, num_workers=2 - then, kill_after=BATCHES + 2)).train()
    assert_goes_on_exactly(Settings(path, num_workers=then), uninterrupted)


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
def test_process_killed_in_mid_epoch_goes_on_exactly_in_another(tmp_path: Path) -> None:
    path = tmp_path / "killed.ckpt"
    killed = subprocess.run([sys.executable, __file__, str(path)], check=False, timeout=100)
    assert killed.returncode == -signal.SIGKILL
    uninterrupted = Run(Settings(tmp_path / "whole.ckpt", num_workers=2)).train()
    assert_goes_on_exactly(Settings(path, num_workers=2), uninterrupted)


if __name__ == "__main__":
    torch.set_num_threads(1)
    Run(Settings(Path(sys.argv[1]), num_workers=2, save_every=3, kill_after=BATCHES + 2, kills_itself=True)).train()
