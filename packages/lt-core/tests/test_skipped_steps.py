from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tiny_runs import Heard, ManualNet, Net, fit, rows
from torch.optim import Optimizer
from torch.optim.lr_scheduler import StepLR

from lt_fabric.full_precision import FullPrecision
from lt_interfaces import PrecisionDtypes


class Skipping(FullPrecision):
    """Leaves out the steps of these numbers, as a precision with a loss scaler does when gradients overflow."""

    def __init__(self, *skipped: int) -> None:
        super().__init__()
        self._skipped = skipped
        self._calls = 0
        self._was_skipped = False

    def dtypes(self) -> PrecisionDtypes:
        return PrecisionDtypes(scales_loss=True)

    @property
    def step_was_skipped(self) -> bool:
        return self._was_skipped

    def optimizer_step(
        self,
        optimizer: Optimizer,
        closure: Callable[[], Any],
        before_step: Callable[[Optimizer], None],
        **kwargs: Any,
    ) -> Any:
        self._was_skipped = self._calls in self._skipped
        self._calls += 1
        if not self._was_skipped:
            return super().optimizer_step(optimizer, closure, before_step, **kwargs)
        loss = closure()
        before_step(optimizer)
        return loss


class Scheduled(Net):
    """Has a schedule that moves at every step."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
        return [optimizer], [{"scheduler": StepLR(optimizer, 1, gamma=0.5), "interval": "step"}]


def test_a_skipped_step_is_counted_as_that_and_moves_no_schedule(tmp_path: Path) -> None:
    net = Scheduled()
    trainer = fit(tmp_path, net, data=rows(4), max_epochs=1, plugins=[Skipping(1, 2)])
    assert (trainer.global_step, trainer.skipped_steps) == (2, 2)
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0.25


def test_the_next_window_begins_afresh_after_a_skipped_step(tmp_path: Path) -> None:
    skipping, plain = Net(), Net()
    fit(tmp_path, skipping, data=rows(4), max_epochs=1, accumulate_grad_batches=2, plugins=[Skipping(0)])
    last = list(rows(4))[2:]

    class Last:
        def __iter__(self) -> Any:
            return iter(last)

        def __len__(self) -> int:
            return 2

    fit(tmp_path, plain, data=Last(), max_epochs=1, accumulate_grad_batches=2)
    assert torch.equal(skipping.weights, plain.weights)


def test_training_goes_on_until_steps_were_really_taken(tmp_path: Path) -> None:
    trainer = fit(tmp_path, Net(), data=rows(4), max_steps=3, max_epochs=-1, plugins=[Skipping(0, 1)])
    assert (trainer.global_step, trainer.skipped_steps) == (3, 2)


def test_hooks_hear_of_every_batch_all_the_same(tmp_path: Path) -> None:
    heard = Heard()
    fit(tmp_path, Net(), heard, data=rows(4), max_epochs=1, plugins=[Skipping(1)])
    assert heard.count("on_train_batch_end") == heard.count("on_before_optimizer_step") == 4


def test_manual_optimization_counts_them_too(tmp_path: Path) -> None:
    trainer = fit(tmp_path, ManualNet(), data=rows(4), max_epochs=1, plugins=[Skipping(0)])
    assert (trainer.global_step, trainer.skipped_steps) == (3, 1)


def test_a_resumed_run_goes_on_counting(tmp_path: Path) -> None:
    first = fit(tmp_path, Net(), data=rows(4), max_epochs=1, plugins=[Skipping(1)])
    first.save_checkpoint(tmp_path / "run.ckpt")
    resumed = fit(tmp_path, Net(), data=rows(4), max_epochs=2, plugins=[Skipping(1)], ckpt_path=tmp_path / "run.ckpt")
    assert (resumed.global_step, resumed.skipped_steps) == (6, 2)
