import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Heard, Journal, Net, fit, rows, trainer_with
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lt_core import LightningModule, Trainer
from lt_fabric.data import CombinedLoader
from lt_interfaces.callback import Callback
from lt_interfaces.errors import MisconfigurationException, SIGTERMException
from lt_interfaces.testing.data import RandomIterableDataset

Evaluate = Callable[..., list[dict[str, float]]]
STAGES = ["validate", "test"]


class Sees(Net):
    """Notes which batches its steps get, and logs one value for each."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, int]] = []

    def evaluation_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        self.seen.append((dataloader_idx, batch_idx))
        self.log("value", float(batch_idx + 10 * dataloader_idx), on_step=True, on_epoch=True, batch_size=1)
        return batch

    validation_step = test_step = evaluation_step  # type: ignore[assignment]  # they take the loader's index, too


class WithParts(Net):
    """Holds submodules in different modes."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(3)).eval()
        self.live = nn.Dropout()

    @property
    def modes(self) -> list[bool]:
        return [self.training, self.frozen.training, self.frozen[1].training, self.live.training]


def entry(trainer: Trainer, stage: str) -> Evaluate:
    evaluate: Evaluate = getattr(trainer, stage)
    return evaluate


def step_name(stage: str) -> str:
    return "validation" if stage == "validate" else "test"


# --- loaders ---


@pytest.mark.parametrize("stage", STAGES)
def test_loaders_are_read_one_after_the_other(stage: str, tmp_path: Path) -> None:
    net = Sees()
    results = entry(trainer_with(tmp_path), stage)(net, [rows(2), rows(1)], verbose=False)
    assert net.seen == [(0, 0), (0, 1), (1, 0)]
    assert results == [{"value_epoch/dataloader_idx_0": 0.5}, {"value_epoch/dataloader_idx_1": 10.0}]


@pytest.mark.parametrize("stage", STAGES)
def test_one_loader_gives_one_dict_of_numbers(stage: str, tmp_path: Path) -> None:
    results = entry(trainer_with(tmp_path), stage)(Sees(), rows(3), verbose=False)
    assert results == [{"value_epoch": 1.0}]
    assert type(results[0]["value_epoch"]) is float


def test_hooks_of_several_loaders_get_the_index_and_those_of_one_do_not(tmp_path: Path) -> None:
    seen: list[tuple[Any, ...]] = []

    class Looks(Callback):
        def on_validation_batch_start(self, trainer: Any, pl_module: Any, *args: Any) -> None:
            seen.append(args[1:])

    trainer = trainer_with(tmp_path, Looks())
    trainer.validate(Sees(), rows(1), verbose=False)
    trainer.validate(Sees(), [rows(1), rows(1)], verbose=False)
    assert seen == [(0,), (0, 0), (0, 1)]


@pytest.mark.parametrize("stage", STAGES)
def test_step_without_the_index_cannot_take_several_loaders(stage: str, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=rf"`Net\.{step_name(stage)}_step` must take the argument `dataloader_idx`"):
        entry(trainer_with(tmp_path), stage)(Net(), [rows(1), rows(1)], verbose=False)


def test_hook_without_the_index_cannot_take_several_loaders(tmp_path: Path) -> None:
    class Short(Sees):
        def on_validation_batch_start(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
            pass

    with pytest.raises(RuntimeError, match=r"on_validation_batch_start.*dataloader_idx"):
        trainer_with(tmp_path).validate(Short(), [rows(1), rows(1)], verbose=False)


def test_step_may_take_the_batch_alone(tmp_path: Path) -> None:
    class Short(Net):
        def validation_step(self, batch: Tensor) -> None:  # type: ignore[override]  # users may leave out the index
            self.log("value", 1.0)

    assert trainer_with(tmp_path).validate(Short(), rows(1), verbose=False) == [{"value": 1.0}]


@pytest.mark.parametrize(("limit", "batches"), [(0, 0), (1, 1), (0.5, 2), (1.0, 4), (9, 4)])
@pytest.mark.parametrize("stage", STAGES)
def test_limits_count_or_take_a_share(stage: str, limit: Any, batches: int, tmp_path: Path) -> None:
    net = Sees()
    name = "val" if stage == "validate" else "test"
    trainer = trainer_with(tmp_path, **{f"limit_{name}_batches": limit})
    entry(trainer, stage)(net, rows(4), verbose=False)
    assert len(net.seen) == batches
    assert getattr(trainer, f"num_{name}_batches") == ([batches] if limit else [])


@pytest.mark.parametrize(("limit", "batches"), [(1.0, 5), (3, 3), (9, 5)])
def test_data_without_length_is_read_to_its_end_or_limit(limit: Any, batches: int, tmp_path: Path) -> None:
    net = Sees()
    loader = DataLoader(RandomIterableDataset(3, 10), batch_size=2)
    trainer_with(tmp_path, limit_test_batches=limit).test(net, [loader, rows(1)], verbose=False)
    assert net.seen == [*((0, index) for index in range(batches)), (1, 0)]


@pytest.mark.parametrize(
    ("mode", "batches"), [("min_size", 2), ("max_size", 3), ("max_size_cycle", 3), ("sequential", 5)]
)
@pytest.mark.parametrize("stage", STAGES)
def test_loaders_are_read_as_the_combined_loaders_mode_says(
    tmp_path: Path, stage: str, mode: str, batches: int
) -> None:
    class Sides(Net):
        seen = 0

        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            self.seen += 1
            assert isinstance(batch, Tensor) if mode == "sequential" else len(batch) == 2
            self.log("value", 1.0, reduce_fx="sum", on_epoch=True, add_dataloader_idx=False)

        test_step = validation_step

    net = Sides()
    results = entry(trainer_with(tmp_path), stage)(net, CombinedLoader([rows(2), rows(3)], mode), verbose=False)
    assert net.seen == batches
    assert results[0] == {"value": batches}
    assert len(results) == (2 if mode == "sequential" else 1)


def test_limits_hold_for_each_of_the_loaders_that_are_read_side_by_side(tmp_path: Path) -> None:
    net = Sees()
    trainer = trainer_with(tmp_path, limit_val_batches=2, num_sanity_val_steps=1, max_epochs=1)
    trainer.fit(net, rows(1), CombinedLoader({"a": rows(3), "b": rows(4)}, "max_size"))
    assert net.seen == [(0, 0), (0, 0), (0, 1)]
    assert trainer.num_val_batches == [2]


def test_shuffled_data_is_worth_a_warning(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="shuffle"):
        trainer_with(tmp_path).validate(Sees(), rows(2, shuffle=True), verbose=False)


@pytest.mark.parametrize("stage", STAGES)
def test_evaluation_without_data_is_refused(stage: str, tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match="dataloader"):
        entry(trainer_with(tmp_path), stage)(Net())


@pytest.mark.parametrize("stage", STAGES)
def test_evaluation_without_its_step_is_refused(stage: str, tmp_path: Path) -> None:
    class Bare(LightningModule):
        pass

    with pytest.raises(MisconfigurationException, match=rf"Bare\.{step_name(stage)}_step"):
        entry(trainer_with(tmp_path), stage)(Bare(), rows(1))


def test_results_are_printed_if_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = trainer_with(tmp_path)
    trainer.test(Net(), rows(1), verbose=False)
    assert capsys.readouterr().out == ""
    trainer.test(Net(), rows(1))
    assert "test_loss" in capsys.readouterr().out


# --- gradients and modes ---


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("inference_mode", [True, False])
def test_evaluation_alone_runs_in_the_mode_asked_for(stage: str, inference_mode: bool, tmp_path: Path) -> None:
    modes: list[tuple[bool, bool]] = []

    class Looks(Sees):
        def evaluation_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> Any:
            modes.append((torch.is_inference_mode_enabled(), torch.is_grad_enabled()))

        validation_step = test_step = evaluation_step  # type: ignore[assignment]

    entry(trainer_with(tmp_path, inference_mode=inference_mode), stage)(Looks(), rows(1), verbose=False)
    assert modes == [(inference_mode, False)]


def test_validation_inside_fitting_never_runs_in_inference_mode(tmp_path: Path) -> None:
    modes: list[tuple[bool, bool]] = []

    class Looks(Net):
        def validation_step(self, batch: Tensor, batch_idx: int) -> None:
            modes.append((torch.is_inference_mode_enabled(), torch.is_grad_enabled()))

    fit(tmp_path, Looks(), val_dataloaders=rows(1), inference_mode=True)
    assert modes == [(False, False)] * 2  # the sanity check, too


@pytest.mark.parametrize("stage", STAGES)
def test_every_submodule_gets_its_own_mode_back(stage: str, tmp_path: Path) -> None:
    seen: list[bool] = []

    class Looks(WithParts):
        def validation_step(self, batch: Tensor, batch_idx: int) -> None:
            seen.extend(self.modes)

        test_step = validation_step

    net = Looks()
    entry(trainer_with(tmp_path), stage)(net, rows(1), verbose=False)
    assert seen == [False] * 4
    assert net.modes == [True, False, False, True]


def test_modes_are_as_before_after_validation_inside_fitting(tmp_path: Path) -> None:
    modes: list[list[bool]] = []

    class Looks(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            modes.append(pl_module.modes)

    fit(tmp_path, WithParts(), Looks(), val_dataloaders=rows(1), val_check_interval=1)
    assert modes == [[True, False, False, True]] * 4


def test_modes_are_restored_when_evaluation_fails(tmp_path: Path) -> None:
    class Fails(WithParts):
        def validation_step(self, batch: Tensor, batch_idx: int) -> None:
            raise ArithmeticError

    net = Fails()
    with pytest.raises(ArithmeticError):
        trainer_with(tmp_path).validate(net, rows(1), verbose=False)
    assert net.modes == [True, False, False, True]


def test_own_switches_of_the_mode_replace_the_default(tmp_path: Path) -> None:
    class Own(WithParts):
        def on_validation_model_eval(self) -> None:
            self.live.eval()

        def on_validation_model_train(self) -> None:
            self.live.train()

        def validation_step(self, batch: Tensor, batch_idx: int) -> None:
            self.inside = self.modes

    net = Own()
    trainer_with(tmp_path).validate(net, rows(1), verbose=False)
    assert net.inside == [True, False, False, False]
    assert net.modes == [True, False, False, True]


# --- the sanity check ---


class Draws(Net):
    """Draws random numbers in training and in validation."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[float] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        self.drawn.append(torch.rand(()).item())
        return self.loss(batch)

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        torch.rand(5)
        self.log("val_loss", self.loss(batch))


@pytest.mark.filterwarnings("ignore:.*shuffle")
def test_sanity_check_leaves_the_random_generators_as_they_were(tmp_path: Path) -> None:
    drawn: list[list[float]] = []
    for steps in (0, 2):
        torch.manual_seed(3)
        net = Draws()
        val = rows(4, shuffle=True)
        fit(tmp_path, net, data=rows(shuffle=True), val_dataloaders=val, num_sanity_val_steps=steps)
        drawn.append(net.drawn)
    assert drawn[0] == drawn[1]


def test_sanity_check_leaves_counters_metrics_and_loggers_as_they_were(tmp_path: Path) -> None:
    class Looks(Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            self.metrics = dict(trainer.callback_metrics)
            self.counters = (trainer.global_step, trainer.current_epoch)
            self.flags = (trainer.sanity_checking, trainer.training)

    looks, journal = Looks(), Journal()
    trainer = fit(tmp_path, Sees(), looks, val_dataloaders=rows(4), logger=journal, num_sanity_val_steps=2)
    assert (looks.metrics, looks.counters, looks.flags) == ({}, (0, 0), (False, True))
    steps = [step for step, row in journal.sent if "value_step" in row]
    assert steps == [0, 1, 2, 3]
    assert trainer.callback_metrics["value_epoch"] == 1.5


@pytest.mark.parametrize(("steps", "batches"), [(0, 0), (2, 2), (9, 3), (-1, 3)])
def test_sanity_check_runs_at_most_so_many_batches_of_each_loader(steps: int, batches: int, tmp_path: Path) -> None:
    net = Sees()
    trainer = trainer_with(tmp_path, num_sanity_val_steps=steps, limit_train_batches=1, check_val_every_n_epoch=2)
    trainer.fit(net, rows(1), [rows(3), rows(3)])
    assert net.seen == [(loader, batch) for loader in range(2) for batch in range(batches)]
    assert trainer.num_val_batches == ([3, 3] if steps else [])


def test_sanity_check_is_told_around_the_validation_hooks(tmp_path: Path) -> None:
    flags: list[tuple[bool, bool]] = []

    class Looks(Heard):
        def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
            flags.append((trainer.sanity_checking, trainer.validating))
            self.names.append("on_validation_start")

    looks = Looks()
    fit(tmp_path, Net(), looks, val_dataloaders=rows(1))
    start, end = looks.names.index("on_sanity_check_start"), looks.names.index("on_sanity_check_end")
    assert looks.names[start + 1] == "on_validation_start"
    assert looks.names[end - 1] == "on_validation_end"
    assert end < looks.names.index("on_train_start")
    assert flags == [(True, False), (False, True)]


def test_sanity_check_shows_a_mistake_before_training(tmp_path: Path) -> None:
    class Fails(Net):
        def validation_step(self, batch: Tensor, batch_idx: int) -> None:
            raise ArithmeticError

    heard = Heard()
    with pytest.raises(ArithmeticError):
        fit(tmp_path, Fails(), heard, val_dataloaders=rows(1))
    assert heard.count("on_train_start") == 0


# --- being told to end ---


class Told(Callback):
    """Sends SIGTERM to its own process in the second batch."""

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    on_predict_batch_end = on_validation_batch_end


@pytest.mark.parametrize("stage", ["validate", "predict"])
def test_a_process_that_is_told_to_end_does_so_after_the_batch(tmp_path: Path, stage: str) -> None:
    heard, trainer = Heard(), trainer_with(tmp_path)
    trainer.callbacks = [heard, Told()]
    with pytest.raises(SIGTERMException):
        getattr(trainer, stage)(Net(), rows(4))
    hooks = {"validate": "on_validation_batch_start", "predict": "on_predict_batch_start"}
    assert heard.count(hooks[stage]) == 2


# --- what loggers get ---


def test_values_per_batch_have_an_axis_of_their_own_that_goes_on(tmp_path: Path) -> None:
    journal = Journal()
    fit(tmp_path, Sees(), val_dataloaders=rows(2), max_epochs=2, logger=journal)
    assert [step for step, row in journal.sent if "value_step" in row] == [0, 1, 2, 3]
    assert [(step, row["epoch"]) for step, row in journal.sent if "value_epoch" in row] == [(3, 0), (7, 1)]


def test_validation_step_without_data_is_worth_a_warning(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="there's no validation data"):
        trainer_with(tmp_path).fit(Net(), rows())


def test_validation_data_without_step_is_worth_a_warning(tmp_path: Path) -> None:
    class Bare(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 1)

        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            return self.layer(batch).mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    trainer = trainer_with(tmp_path)
    with pytest.warns(UserWarning, match="defines no `validation_step`"):
        trainer.fit(Bare(), rows(), rows(1))
    assert not trainer.enable_validation
