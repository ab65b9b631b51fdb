"""Averaged weights in real runs: what validation has, what files hold, and resumes to the bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from averaging_ranks import DATA, Net, Saves, average, fit
from torch import Tensor
from torch.utils.data import DataLoader

from lt_core import Trainer
from lt_interfaces.callback import Callback
from lt_interfaces.testing.ranks import run_in_processes


class Watches(Callback):
    """Keeps the weights after each step."""

    def __init__(self) -> None:
        self.weights: list[Tensor] = []

    def on_train_batch_end(self, trainer: Any, module: Any, *args: Any) -> None:
        self.weights.append(module.weights)


def weights_of(path: Path) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return weights


def test_validation_and_the_end_have_the_moving_average_of_all_steps(tmp_path: Path) -> None:
    watches = Watches()
    net = fit(tmp_path, watches)
    average = watches.weights[0]
    averages = [average := 0.7 * average + 0.3 * weights for weights in watches.weights]
    averages[0] = watches.weights[0]
    floating = slice(0, -1)  # the last number is a count
    for seen, expected in (
        (net.validated[0], averages[5]),
        (net.validated[1], averages[11]),
        (net.weights, averages[11]),
    ):
        assert torch.allclose(seen[floating], expected[floating], atol=1e-5)


@pytest.mark.parametrize(
    ("hook", "nth"),
    [
        *(("on_train_batch_end", batch) for batch in (1, 5, 6, 7, 11)),
        ("on_validation_batch_start", 1),
        ("on_validation_end", 1),
        ("on_train_epoch_end", 1),
    ],
)
def test_a_run_resumed_from_anywhere_comes_to_the_same_weights(hook: str, nth: int, tmp_path: Path) -> None:
    path = tmp_path / "saved.ckpt"
    whole = fit(tmp_path, Saves(path, hook, nth))
    resumed = fit(tmp_path, ckpt_path=path)
    assert torch.equal(resumed.weights, whole.weights)
    assert torch.equal(resumed.validated[-1], whole.validated[-1])


def test_files_hold_the_average_also_those_of_weights_alone(tmp_path: Path) -> None:
    path = tmp_path / "saved.ckpt"
    whole = fit(tmp_path, Saves(path, "on_validation_end", 2))
    for file in (path, path.with_suffix(".weights")):
        restored = Net()
        restored.load_state_dict(weights_of(file))
        assert torch.equal(restored.weights, whole.weights)


def test_a_checkpoint_is_evaluated_with_its_average(tmp_path: Path) -> None:
    path, net = tmp_path / "saved.ckpt", Net()
    whole = fit(tmp_path, Saves(path, "on_validation_end", 2))
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path)
    trainer.validate(net, DataLoader(DATA, batch_size=12), ckpt_path=path, verbose=False)  # type: ignore[arg-type]
    assert torch.equal(net.weights, whole.weights)


def test_ranks_come_to_one_average_also_after_a_resume(tmp_path: Path) -> None:
    first, second = run_in_processes(average, str(tmp_path), timeout_seconds=100)
    for one, other in ((first, second), (second, first)):
        parameters = slice(0, -7)  # behind them each rank's statistics of its own samples, unless rank 0 sends its own
        assert torch.equal(one["whole"][parameters], other["whole"][parameters])
        assert torch.equal(one["resumed"][parameters], one["whole"][parameters])
        assert torch.equal(one["validated"][-1][parameters], one["whole"][parameters])
