"""Steps that take batches themselves."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Saver, fit
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lt_core import LightningModule, MisconfigurationException, Trainer
from lt_core.run.handing_over import LoaderIterator, handed_over, takes_iterator


def marked(count: int) -> Iterator[tuple[Any, int, int, bool]]:
    return ((f"batch {idx}", idx, 0, idx == count - 1) for idx in range(count))


def test_the_argument_decides() -> None:
    assert takes_iterator(lambda dataloader_iter: None)
    assert not takes_iterator(lambda batch, batch_idx: None)
    assert not takes_iterator(None)


def test_the_last_batch_is_known_before_it_is_taken() -> None:
    iterator = LoaderIterator(marked(2))
    before = iterator.is_at_last
    next(iterator)
    assert (before, iterator.is_at_last, iterator.taken) == (False, True, 1)


def test_a_step_may_take_several_batches() -> None:
    steps = handed_over(marked(3))
    iterator, first_idx, _, _ = next(steps)
    pair = [next(iterator)[0], next(iterator)[0]]
    _, second_idx, _, is_last = next(steps)
    assert (first_idx, pair, second_idx, is_last) == (0, ["batch 0", "batch 1"], 2, True)


def test_a_step_that_takes_nothing_is_refused() -> None:
    with pytest.raises(MisconfigurationException, match="took no batch"):
        list(handed_over(marked(2)))


def test_numbers_of_batches_go_on_where_a_resumed_epoch_stands() -> None:
    steps = handed_over(iter([("last", 4, 0, True)]), 4)
    iterator, batch_idx, _, is_last = next(steps)
    assert (next(iterator), batch_idx, is_last, iterator.taken) == (("last", 4, 0), 4, True, 5)
    assert list(steps) == []


class TakesItself(LightningModule):
    """Takes batches in the training step, and moves nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.seen: list[int] = []

    def training_step(self, dataloader_iter: Iterator[tuple[Tensor, int, int]]) -> Tensor:
        batch, batch_idx, _ = next(dataloader_iter)
        self.seen.append(batch_idx)
        loss: Tensor = self.layer(batch).sum()
        self.log("loss", loss, on_epoch=True, batch_size=len(batch))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_a_step_with_dataloader_iter_sees_every_batch_once_per_epoch() -> None:
    module = TakesItself()
    trainer = Trainer(
        max_epochs=2,
        accumulate_grad_batches=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(torch.ones(6, 4), batch_size=2))
    assert module.seen == [0, 1, 2, 0, 1, 2]
    assert trainer.global_step == 4


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
def test_a_step_with_dataloader_iter_goes_on_in_mid_epoch(at: int, tmp_path: Path) -> None:
    def run(*callbacks: Any, **start: Any) -> TakesItself:
        torch.manual_seed(0)
        module = TakesItself()
        data = torch.arange(24.0).reshape(6, 4) / 24
        fit(tmp_path, module, *callbacks, data=DataLoader(data, batch_size=2, shuffle=True), max_epochs=2, **start)
        return module

    whole = run(Saver(tmp_path / "x.ckpt", "on_train_batch_end", at))
    rest = run(ckpt_path=tmp_path / "x.ckpt")
    assert whole.seen[:at] + rest.seen == [0, 1, 2, 0, 1, 2]
    assert torch.equal(whole.layer.weight, rest.layer.weight)
