from collections.abc import Iterator
from inspect import Parameter, isfunction, signature
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import Net, fit, rows, trainer_with
from trainer_as_contracts import as_control, as_view

from lt_core import LightningModule, Trainer
from lt_interfaces import Callback, RunControl, StepModule, TrainerView
from lt_interfaces.hooks import Hearer, heard_by
from lt_interfaces.testing import RunControlContract, StepModuleContract, TrainerViewContract


def members(contract: type) -> Iterator[tuple[str, Any]]:
    return ((name, member) for name, member in vars(contract).items() if name[0] != "_")


READINGS = [name for name, member in members(TrainerView) if isinstance(member, property)]
METHODS = [
    pytest.param(contract, name, id=name)
    for contract in (TrainerView, RunControl)
    for name, member in members(contract)
    if isfunction(member)
]


@pytest.mark.parametrize(("contract", "name"), METHODS)
def test_every_method_takes_what_the_contract_says(contract: type, name: str) -> None:
    def shape(function: Any) -> list[tuple[str, Any, Any]]:
        return [(one.name, one.kind, one.default) for one in signature(function).parameters.values()]

    assert shape(vars(contract)[name]) == shape(getattr(Trainer, name))


@pytest.mark.parametrize("name", READINGS)
def test_everything_can_be_read_of_a_trainer_that_has_not_run(tmp_path: Path, name: str) -> None:
    getattr(as_view(trainer_with(tmp_path)), name)


class Reader(Callback):
    """Reads everything in every hook."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self.read: set[str] = set()

    def read_all(self, hook: str, view: TrainerView) -> None:
        self.read.add(hook)
        for name in READINGS:
            try:
                getattr(view, name)
            except Exception as error:
                self.failed.append(f"{hook}: {name}: {error!r}")


def _reading(hook: str) -> Any:
    def read(self: Reader, trainer: Trainer, *args: Any) -> None:
        self.read_all(hook, trainer)

    return read


for _hook in heard_by(Hearer.CALLBACK):
    setattr(Reader, _hook.name, _reading(_hook.name))


def test_everything_can_be_read_in_every_hook(tmp_path: Path) -> None:
    reader = Reader()
    trainer = trainer_with(tmp_path, reader, max_epochs=2)
    trainer.fit(Net(), rows(), rows())
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    trainer.fit(Net(), rows(), rows(), ckpt_path=tmp_path / "last.ckpt")
    for entry_point in (trainer.validate, trainer.test, trainer.predict):
        entry_point(dataloaders=rows())
    assert reader.failed == []
    assert {hook.name for hook in heard_by(Hearer.CALLBACK)} - reader.read == {"on_exception"}


def test_everything_can_be_read_after_a_failure(tmp_path: Path) -> None:
    class Failing(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise KeyError(batch_idx)

    reader = Reader()
    with pytest.raises(KeyError):
        fit(tmp_path, Failing(), reader)
    assert reader.failed == []
    assert "on_exception" in reader.read


def test_reading_a_view_changes_nothing(tmp_path: Path) -> None:
    class Watching(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            before = {name: str(getattr(trainer, name)) for name in READINGS}
            assert {name: str(getattr(trainer, name)) for name in READINGS} == before

    fit(tmp_path, Net(), Watching())


def test_what_is_asked_of_a_run_is_honoured(tmp_path: Path) -> None:
    class Asking(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            control = as_control(trainer)
            if batch_idx == 0:
                control.set_accumulation(2)
                control.log_metrics({"asked": 1.0})
                control.request_save(tmp_path / "asked.ckpt")
                control.save_checkpoint(tmp_path / "now.ckpt")
                control.remove_checkpoint(tmp_path / "now.ckpt")
            if batch_idx == 2:
                control.request_stop("enough")

    trainer = fit(tmp_path, Net(), Asking(), data=rows(8), max_epochs=3)
    assert trainer.current_epoch <= 1
    assert trainer.accumulate_grad_batches == 2
    assert trainer.callback_metrics["asked"] == 1.0
    assert [path.name for path in tmp_path.glob("*.ckpt")] == ["asked.ckpt"]


@pytest.mark.parametrize("name", [name for name, _ in members(StepModule)] + sorted(StepModule.__annotations__))
def test_a_module_has_what_strategies_need(name: str) -> None:
    module: Any = Net()
    if name == "trainer":
        module.trainer = "attached"
    assert getattr(module, name) is not None


@pytest.mark.parametrize("name", [name for name, member in members(StepModule) if isfunction(member)])
def test_a_modules_methods_can_be_called_as_the_contract_says(name: str) -> None:
    wanted = [
        one for one in signature(vars(StepModule)[name]).parameters.values() if one.kind is not Parameter.VAR_KEYWORD
    ]
    signature(getattr(LightningModule, name)).bind(*[None] * len(wanted))


class TestModuleAsContract(StepModuleContract):
    @pytest.fixture
    def part(self, tmp_path: Path) -> LightningModule:
        module = Net()
        fit(tmp_path, module)
        return module


class TestTrainerAsView(TrainerViewContract):
    @pytest.fixture
    def part(self, tmp_path: Path) -> Trainer:
        return fit(tmp_path, Net())


class TestTrainerAsControl(RunControlContract):
    @pytest.fixture
    def part(self, tmp_path: Path) -> Trainer:
        return fit(tmp_path, Net())
