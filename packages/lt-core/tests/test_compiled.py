import copy
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from compiled_runs import Graphs, Logs, fitted
from tiny_runs import ManualNet, Net, fit, rows, trainer_with
from torch import Tensor, nn

from lt_core import LightningModule, Trainer
from lt_core.compiled import CompiledStep, compiler_of, unwrap_compiled
from lt_fabric.full_precision import FullPrecision
from lt_fabric.single_device import SingleDeviceStrategy
from lt_interfaces.callback import Callback
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.states import TrainerStatus
from lt_interfaces.strategy import Capability


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


class Predicts(OnlyTrains):
    """Leaves prediction to `forward`."""


class Watches(Callback):
    """Looks at the module while it's compiled."""

    def __init__(self) -> None:
        self.compiled: list[str] = []
        self.copy: Any = None

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.compiled = [name for name, value in vars(pl_module).items() if isinstance(value, CompiledStep)]
        self.copy = copy.deepcopy(pl_module)


def compiled(module: LightningModule, graphs: Graphs) -> Any:
    return torch.compile(module, backend=graphs)


def trainable(way: str, module: LightningModule, graphs: Graphs) -> tuple[Any, dict[str, Any]]:
    """Return what's passed to `fit`, and the Trainer's arguments, for each way to ask for compiled steps."""
    if way == "by the user":
        return compiled(module, graphs), {}
    return module, {"compile": {"backend": graphs}}


WAYS = pytest.mark.parametrize("way", ["by the user", "by the Trainer"])


def test_modules_that_were_not_compiled_are_left_alone() -> None:
    module = OnlyTrains()
    assert unwrap_compiled(module) is module
    assert unwrap_compiled(None) is None
    assert compiler_of(module, None) is None


@WAYS
def test_the_users_module_is_trained_with_compiled_steps(tmp_path: Path, way: str) -> None:
    module, graphs = OnlyTrains(), Graphs()
    before = module.layer.weight.detach().clone()
    given, arguments = trainable(way, module, graphs)
    trainer = fit(tmp_path, given, **arguments)
    assert trainer.lightning_module is module
    assert trainer.global_step == 4
    assert graphs.run == 4
    assert not torch.equal(module.layer.weight, before)


@WAYS
def test_compiled_weights_are_those_trained_without(tmp_path: Path, way: str) -> None:
    plain, other = OnlyTrains(), OnlyTrains()
    other.load_state_dict(plain.state_dict())
    settings = {"accumulate_grad_batches": 2, "gradient_clip_val": 0.01}
    fit(tmp_path, plain, **settings)
    given, arguments = trainable(way, other, Graphs())
    fit(tmp_path, given, **arguments, **settings)
    torch.testing.assert_close(other.state_dict(), plain.state_dict())


@WAYS
def test_names_in_checkpoints_are_those_of_the_module(tmp_path: Path, way: str) -> None:
    given, arguments = trainable(way, OnlyTrains(), Graphs())
    trainer = fit(tmp_path, given, **arguments)
    trainer.save_checkpoint(tmp_path / "saved.ckpt")
    saved = torch.load(tmp_path / "saved.ckpt", weights_only=True)
    assert set(saved["state_dict"]) == {"layer.weight", "layer.bias"}
    loaded = OnlyTrains.load_from_checkpoint(tmp_path / "saved.ckpt")
    torch.testing.assert_close(loaded.state_dict(), trainer.lightning_module.state_dict())


@WAYS
def test_only_steps_that_the_module_defines_are_compiled(tmp_path: Path, way: str) -> None:
    watches = Watches()
    given, arguments = trainable(way, OnlyTrains(), Graphs())
    fit(tmp_path, given, watches, **arguments)
    assert watches.compiled == ["forward", "training_step"]
    with pytest.warns(UserWarning, match="validation is skipped"):
        trainer_with(tmp_path, **arguments).fit(given, rows(1), rows(1))


@WAYS
def test_a_run_leaves_the_module_as_it_was(tmp_path: Path, way: str) -> None:
    module = OnlyTrains()
    given, arguments = trainable(way, module, Graphs())
    before = set(vars(module))
    fit(tmp_path, given, **arguments)
    assert set(vars(module)) == before
    torch.testing.assert_close(pickle.loads(pickle.dumps(module)).state_dict(), module.state_dict())


class Fails(OnlyTrains):
    def on_train_batch_end(self, *args: Any) -> None:
        message = "on purpose"
        raise ValueError(message)


def test_a_run_that_fails_leaves_the_module_as_it_was(tmp_path: Path) -> None:
    module = Fails()
    before = set(vars(module))
    with pytest.raises(ValueError, match="on purpose"):
        fit(tmp_path, module, compile={"backend": Graphs()})
    assert set(vars(module)) == before


def test_a_copy_made_during_a_run_computes_with_its_own_weights(tmp_path: Path) -> None:
    watches = Watches()
    fit(tmp_path, OnlyTrains(), watches, compile={"backend": Graphs()})
    with torch.no_grad():
        for parameter in watches.copy.parameters():
            parameter.zero_()
    assert watches.copy(torch.ones(1, 3)).item() == 0.0
    assert watches.copy.training_step(torch.ones(1, 3), 0).item() == 0.0


class Exports(OnlyTrains):
    def on_train_end(self) -> None:
        sample = torch.ones(2, 3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated
            self.exported = [
                self.to_torchscript(),
                self.to_torchscript(method="trace", example_inputs=sample),
                self.to_exported_program(input_sample=(sample,)).module(),
                torch.jit.trace(self, sample),  # type: ignore[no-untyped-call]
            ]


def test_a_module_can_be_exported_during_a_compiled_run(tmp_path: Path) -> None:
    module = Exports()
    fit(tmp_path, module, compile={"backend": Graphs()})
    for exported in module.exported:
        torch.testing.assert_close(exported(torch.ones(2, 3)), module(torch.ones(2, 3)))


def without(capability: Capability) -> Any:
    """Return a strategy of one process that can't do this."""
    strategy = SingleDeviceStrategy()
    supports = strategy.supports
    strategy.supports = lambda part: part is not capability and supports(part)  # type: ignore[method-assign]
    return strategy


@WAYS
@pytest.mark.parametrize("entry", ["fit", "validate", "test", "predict"])
def test_a_strategy_that_cannot_run_compiled_steps_refuses_them_before_anything_starts(
    tmp_path: Path, way: str, entry: str
) -> None:
    module, graphs = Net(), Graphs()
    given, arguments = trainable(way, module, graphs)
    trainer = trainer_with(tmp_path, strategy=without(Capability.COMPILED_MODULE), **arguments)
    with pytest.raises(MisconfigurationException, match=r"SingleDeviceStrategy can't run compiled steps\. Leave out"):
        getattr(trainer, entry)(given, rows(2))
    assert trainer.state.status is TrainerStatus.INITIALIZING
    assert graphs.compiled == 0


@WAYS
def test_evaluating_uses_the_compiled_steps_too(tmp_path: Path, way: str) -> None:
    graphs = Graphs()
    (plain,) = trainer_with(tmp_path).validate(Net(), rows(2), verbose=False)
    given, arguments = trainable(way, Net(), graphs)
    trainer = trainer_with(tmp_path, **arguments)
    (found,) = trainer.validate(given, rows(2), verbose=False)
    assert found == pytest.approx(plain)
    assert graphs.run == 2
    trainer.test(dataloaders=rows(2), verbose=False)  # the module used last, compiled as it was
    assert graphs.run == 4
    trainer.predict(dataloaders=rows(2))
    assert graphs.run == 6
    assert graphs.breaks == {}


def test_the_default_prediction_runs_a_compiled_forward(tmp_path: Path) -> None:
    module, graphs = Predicts(), Graphs()
    outputs = trainer_with(tmp_path, compile={"backend": graphs}).predict(module, rows(2))
    assert outputs is not None
    torch.testing.assert_close(outputs[0], module(next(iter(rows(2)))).detach())
    assert graphs.run == 2


@WAYS
def test_a_second_fit_compiles_nothing_anew(tmp_path: Path, way: str) -> None:
    graphs = Graphs()
    given, arguments = trainable(way, OnlyTrains(), graphs)
    fit(tmp_path, given, **arguments)
    fit(tmp_path, given, **arguments)
    assert (graphs.compiled, graphs.run) == (1, 8)


def test_a_plain_module_after_a_compiled_one_is_not_compiled(tmp_path: Path) -> None:
    graphs = Graphs()
    trainer = trainer_with(tmp_path)
    trainer.validate(compiled(Net(), graphs), rows(2), verbose=False)
    trainer.validate(Net(), rows(2), verbose=False)
    assert graphs.run == 2


@pytest.mark.parametrize("in_place", [False, True])
def test_a_module_is_not_compiled_twice(tmp_path: Path, in_place: bool) -> None:
    module: Any = OnlyTrains()
    if in_place:
        module.compile(backend="eager")
    given = module if in_place else compiled(module, Graphs())
    with pytest.raises(MisconfigurationException, match=r"OnlyTrains, which was compiled by `torch.compile` already"):
        fit(tmp_path, given, compile=True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"fulgraph": True}, r"takes no 'fulgraph'\. Did you mean `fullgraph`\?"),
        ({"backend": "inducter"}, r"`compile` is .*doesn't take: "),
        ({"mode": "fast"}, r"`compile` is .*doesn't take: "),
        ({"mode": "default", "options": {"max_autotune": True}}, r"`compile` is .*doesn't take: "),
    ],
)
def test_what_torch_would_refuse_is_refused_when_the_trainer_is_made(given: Any, message: str) -> None:
    with pytest.raises(MisconfigurationException, match=message):
        Trainer(accelerator="cpu", logger=False, compile=given)


def test_compilation_can_be_disabled_by_torchs_own_switch(tmp_path: Path) -> None:
    graphs = Graphs()
    fit(tmp_path, OnlyTrains(), compile={"backend": graphs, "disable": True})
    assert graphs.compiled == 0


class CompilesForward(ManualNet):
    def loss(self, batch: Tensor) -> Tensor:
        return (self(batch) - 1).square().mean()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        self.log("mean", out.mean(), on_epoch=True)
        return out


def test_manual_optimization_compiles_forward_alone(tmp_path: Path) -> None:
    graphs, watches, plain, other = Graphs(), Watches(), CompilesForward(), CompilesForward()
    expected = fit(tmp_path, plain)
    found = fit(tmp_path, other, watches, compile={"backend": graphs, "fullgraph": True})
    assert "training_step" not in watches.compiled
    assert graphs.run == 4
    torch.testing.assert_close(other.weights, plain.weights)
    assert found.global_step == expected.global_step
    torch.testing.assert_close(found.callback_metrics, expected.callback_metrics)


class Bf16(FullPrecision):
    """Lets steps compute in bfloat16 where autocast says so."""

    def forward_context(self) -> Any:
        return torch.autocast("cpu", torch.bfloat16)


class NotesFormat(Logs):
    """Logs whether its layer computes in bfloat16."""

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        out = self(batch)
        self.log("is bf16", float(out.dtype is torch.bfloat16))
        return (out.float() - 1).square().mean()


def test_a_compiled_step_computes_in_the_runs_precision(tmp_path: Path) -> None:
    graphs = Graphs()
    trainer, _ = fitted(tmp_path, NotesFormat(), compile={"backend": graphs, "fullgraph": True}, plugins=[Bf16()])
    assert trainer.callback_metrics["is bf16"] == 1
    assert graphs.compiled == 2
