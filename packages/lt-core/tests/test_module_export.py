"""Modules export before they met a Trainer, while they're in one, and afterwards."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import fit
from torch import Tensor, nn

from lt_core import LightningModule

SAMPLE = torch.ones(2, 3)


class Exported(LightningModule):
    """Has hooks, steps and hyper-parameters that an exporter could stumble over."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = nn.Linear(width, 1)
        self.example_input_array = SAMPLE

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = self(batch).mean()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def on_train_end(self) -> None:
        self.during: Any = self.export_while_running(self) if self.export_while_running else None

    export_while_running: Callable[["Exported"], Any] | None = None


def by_program(module: Exported) -> Tensor:
    found: Tensor = module.to_exported_program().module()(SAMPLE)
    return found


def by_script(module: Exported) -> Tensor:
    found: Tensor = module.to_torchscript()(SAMPLE)
    return found


def by_trace(module: Exported) -> Tensor:
    found: Tensor = module.to_torchscript(method="trace")(SAMPLE)
    return found


def by_onnx(module: Exported) -> Tensor:
    with warnings.catch_warnings():
        # onnxscript and torch's exporter warn about each other's internals
        warnings.simplefilter("ignore")
        program = module.to_onnx()
    return torch.as_tensor(program(SAMPLE)[0])


EXPORTS = [
    by_program,
    pytest.param(by_script, marks=pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")),
    pytest.param(by_trace, marks=pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")),
    by_onnx,
]


@pytest.mark.parametrize("export", EXPORTS)
def test_a_module_that_met_no_trainer_exports(export: Callable[[Exported], Tensor]) -> None:
    module = Exported()
    torch.testing.assert_close(export(module), module(SAMPLE).detach(), check_device=False)
    assert module.training


@pytest.mark.parametrize("export", EXPORTS)
def test_a_module_exports_in_a_run_and_after_it(export: Callable[[Exported], Tensor], tmp_path: Path) -> None:
    module = Exported()
    module.export_while_running = export
    trainer = fit(tmp_path, module, max_steps=1)
    expected = module(SAMPLE).detach()
    torch.testing.assert_close(module.during, expected)
    torch.testing.assert_close(export(module), expected)
    assert module.trainer is trainer
