from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Journal, ManualNet, Net, fit, rows
from torch import Tensor

from lt_core import Trainer


class Watching(Net):
    """Computes by hand what the norm must be, before each step."""

    scale = 100.0

    def __init__(self) -> None:
        super().__init__()
        self.expected: list[float] = []

    def loss(self, batch: Tensor) -> Tensor:
        return super().loss(batch * self.scale)

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.expected.append(norm_of(self))


def norm_of(net: Net) -> float:
    gradients = [parameter.grad.flatten() for parameter in net.parameters() if parameter.grad is not None]
    return torch.cat(gradients).norm().item()


def logged(journal: Journal, name: str = "grad_norm") -> list[float]:
    return [numbers[name] for _, numbers in journal.sent if name in numbers]


@pytest.mark.parametrize(
    "clipping",
    [
        {},
        {"gradient_clip_val": 0.5},
        {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
    ],
)
@pytest.mark.parametrize("accumulate_grad_batches", [1, 2])
def test_the_norm_before_clipping_is_logged_at_each_step(
    tmp_path: Path, clipping: dict[str, Any], accumulate_grad_batches: int
) -> None:
    net, journal = Watching(), Journal()
    arguments = {"log_gradient_norm": True, "log_every_n_steps": 1, "logger": journal, **clipping}
    trainer = fit(tmp_path, net, accumulate_grad_batches=accumulate_grad_batches, **arguments)
    assert logged(journal) == pytest.approx(net.expected, rel=1e-5)
    assert len(net.expected) == 4 // accumulate_grad_batches
    assert trainer.gradient_norm.item() == pytest.approx(net.expected[-1], rel=1e-5)


def test_measuring_the_norm_changes_nothing(tmp_path: Path) -> None:
    plain, measured = Net(), Net()
    fit(tmp_path, plain)
    fit(tmp_path, measured, log_gradient_norm=True)
    assert torch.equal(plain.weights, measured.weights)


def test_clipping_by_norm_gives_it_without_logging(tmp_path: Path) -> None:
    net, journal = Watching(), Journal()
    trainer = fit(tmp_path, net, gradient_clip_val=0.5, logger=journal, log_every_n_steps=1)
    assert trainer.gradient_norm.item() == pytest.approx(net.expected[-1], rel=1e-5)
    assert logged(journal) == []


def test_it_is_unknown_where_nobody_measures(tmp_path: Path) -> None:
    assert Trainer(accelerator="cpu", logger=False).gradient_norm is None
    assert fit(tmp_path, Net()).gradient_norm is None
    assert fit(tmp_path, Net(), gradient_clip_val=1.0, gradient_clip_algorithm="value").gradient_norm is None


class Clipping(ManualNet):
    """Clips by itself."""

    how = "norm"

    def __init__(self) -> None:
        super().__init__()
        self.expected: list[float] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(self.loss(batch))
        self.expected.append(norm_of(self))
        self.clip_gradients(optimizer, gradient_clip_val=1e-3, gradient_clip_algorithm=self.how)
        optimizer.step()


@pytest.mark.parametrize("how", ["norm", "value"])
def test_in_manual_optimization_it_is_that_before_the_modules_own_clipping(tmp_path: Path, how: str) -> None:
    net, journal = Clipping(), Journal()
    net.how = how
    trainer = fit(tmp_path, net, log_gradient_norm=True, log_every_n_steps=1, logger=journal)
    assert logged(journal) == pytest.approx(net.expected, rel=1e-5)
    assert trainer.gradient_norm.item() == pytest.approx(net.expected[-1], rel=1e-5)


def test_several_optimizers_have_a_norm_each(tmp_path: Path) -> None:
    class Two(ManualNet):
        num_optimizers = 2

    journal = Journal()
    fit(tmp_path, Two(), log_gradient_norm=True, log_every_n_steps=1, logger=journal)
    assert len(logged(journal, "grad_norm/0")) == len(logged(journal, "grad_norm/1")) == 4


def test_the_bare_loop_logs_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="log_gradient_norm"):
        Trainer(barebones=True, log_gradient_norm=True)


def test_measuring_reads_nothing_from_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Tensor) -> Any:
        message = "a wait for the device"
        raise AssertionError(message)

    class Strict(Net):
        def on_before_optimizer_step(self, optimizer: Any) -> None:
            for name in ("item", "__bool__", "__float__", "tolist"):
                monkeypatch.setattr(Tensor, name, refuse)

        def on_before_zero_grad(self, optimizer: Any) -> None:
            monkeypatch.undo()

        def on_train_batch_end(self, *_: Any) -> None:
            monkeypatch.undo()

    fit(tmp_path, Strict(), data=rows(), log_gradient_norm=True, gradient_clip_val=0.5, log_every_n_steps=1)
