from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Net, fit, rows, trainer_with
from torch import Tensor, nn

from lt_core import LightningModule
from lt_core.compiled import unwrap_compiled
from lt_core.hook_plan import overrides


class Graphs:
    """A compiler that changes nothing and counts how often its graphs run."""

    def __init__(self) -> None:
        self.compiled = 0
        self.run = 0

    def __call__(self, graph: Any, inputs: Any) -> Any:
        self.compiled += 1

        def run(*args: Any) -> Any:
            self.run += 1
            return graph.forward(*args)

        return run


class OnlyTrains(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self(batch).square().mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def compiled(module: LightningModule, graphs: Graphs) -> Any:
    torch._dynamo.reset()
    return torch.compile(module, backend=graphs)


def test_modules_that_were_not_compiled_are_left_alone() -> None:
    module = OnlyTrains()
    assert unwrap_compiled(module) is module
    assert unwrap_compiled(None) is None


def test_the_users_module_is_trained_with_compiled_steps(tmp_path: Path) -> None:
    module, graphs = OnlyTrains(), Graphs()
    before = module.layer.weight.detach().clone()
    trainer = fit(tmp_path, compiled(module, graphs))
    assert trainer.lightning_module is module
    assert trainer.global_step == 4
    assert graphs.run >= 4
    assert not torch.equal(module.layer.weight, before)


def test_compiled_weights_are_those_trained_without(tmp_path: Path) -> None:
    plain, other = OnlyTrains(), OnlyTrains()
    other.load_state_dict(plain.state_dict())
    fit(tmp_path, plain)
    fit(tmp_path, compiled(other, Graphs()))
    torch.testing.assert_close(other.state_dict(), plain.state_dict())


def test_names_in_checkpoints_are_those_of_the_module(tmp_path: Path) -> None:
    trainer = fit(tmp_path, compiled(OnlyTrains(), Graphs()))
    trainer.save_checkpoint(tmp_path / "saved.ckpt")
    saved = torch.load(tmp_path / "saved.ckpt", weights_only=True)
    assert set(saved["state_dict"]) == {"layer.weight", "layer.bias"}


def test_steps_that_the_module_does_not_define_stay_undefined(tmp_path: Path) -> None:
    module = unwrap_compiled(compiled(OnlyTrains(), Graphs()))
    assert overrides(module, "training_step")
    assert not overrides(module, "validation_step")
    assert not overrides(module, "test_step")
    with pytest.warns(UserWarning, match="validation is skipped"):
        trainer_with(tmp_path).fit(compiled(OnlyTrains(), Graphs()), rows(1), rows(1))


def test_evaluating_uses_the_compiled_steps_too(tmp_path: Path) -> None:
    graphs = Graphs()
    module = compiled(Net(), graphs)
    trainer = trainer_with(tmp_path)
    (plain,) = trainer.validate(Net(), rows(2), verbose=False)
    (found,) = trainer.validate(module, rows(2), verbose=False)
    assert found == pytest.approx(plain)
    assert graphs.run > 0


def test_a_second_call_compiles_nothing_anew(tmp_path: Path) -> None:
    graphs = Graphs()
    module = compiled(OnlyTrains(), graphs)
    unwrap_compiled(module)
    step = vars(module._orig_mod)["training_step"]
    assert unwrap_compiled(module) is module._orig_mod
    assert vars(module._orig_mod)["training_step"] is step
