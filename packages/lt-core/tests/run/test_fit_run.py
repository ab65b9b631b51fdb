from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from tiny_runs import Journal, Net, Saver, fit, rows
from torch import Tensor

from lt_core.run.fit_run import EvaluationRun, FitRun, FitValidation


def test_state_of_a_fit_has_at_most_eight_parts() -> None:
    assert len(fields(FitRun)) <= 8


def test_parts_of_a_run_share_no_name_but_their_own() -> None:
    assert {field.name for field in fields(FitValidation)} & {field.name for field in fields(EvaluationRun)} == set()


class Validates(Net):
    """Draws at random in validation, as a noisy metric does, and in training."""

    def __init__(self) -> None:
        super().__init__()
        self.validated: list[float] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        return self.loss(torch.nn.functional.dropout(batch))

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        noise = torch.rand(())
        self.validated.append(noise.item())
        self.log("val", noise, on_step=True, on_epoch=True)


def validating(root: Path, *callbacks: Any, **start: Any) -> tuple[Validates, Journal]:
    torch.manual_seed(0)
    module, journal = Validates(), Journal()
    options = {"max_epochs": 2, "val_check_interval": 2, "num_sanity_val_steps": 0, "logger": journal}
    fit(root, module, *callbacks, data=rows(4, shuffle=True), val_dataloaders=rows(3), **options, **start)
    return module, journal


def test_validation_that_a_save_interrupted_begins_again_with_the_same_random_state(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    whole, sent = validating(tmp_path, Saver(path, "on_validation_batch_end", 5))
    torch.manual_seed(1)
    rest, sent_again = validating(tmp_path, ckpt_path=path)
    assert rest.validated == whole.validated[3:]
    assert torch.equal(rest.weights, whole.weights)
    assert sent_again.sent == sent.sent[-len(sent_again.sent) :]


def test_validation_that_was_over_when_saved_isnt_repeated(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    whole, _ = validating(tmp_path, Saver(path, "on_validation_end", 2))
    rest, _ = validating(tmp_path, ckpt_path=path)
    assert rest.validated == whole.validated[6:]
    assert torch.equal(rest.weights, whole.weights)


def test_x_axis_of_values_per_validation_batch_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    validating(tmp_path, Saver(path, "on_train_epoch_end", 1))
    _, journal = validating(tmp_path, ckpt_path=path)
    assert [step for step, numbers in journal.sent if "val_step" in numbers] == [6, 7, 8, 9, 10, 11]
