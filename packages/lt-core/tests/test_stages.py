import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Heard, Net, fit, rows, trainer_with
from torch import Tensor

from lt_core.stages import stage_of
from lt_interfaces.callback import Callback
from lt_interfaces.errors import EndOfFit
from lt_interfaces.roles import Role
from lt_interfaces.states import RunningStage, TrainerFn


@pytest.mark.parametrize(
    ("fn", "stage"), [(TrainerFn.VALIDATING, RunningStage.VALIDATING), (TrainerFn.TESTING, RunningStage.TESTING)]
)
def test_entry_point_runs_its_own_stage(fn: TrainerFn, stage: RunningStage) -> None:
    assert stage_of(fn) is stage


def test_stages_of_a_fit_follow_each_other(tmp_path: Path) -> None:
    seen: list[str] = []

    class Looks(Callback):
        def on_sanity_check_start(self, trainer: Any, pl_module: Any) -> None:
            seen.append(trainer.state.stage.value)

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            seen.append(trainer.state.stage.value)

        def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
            seen.append(trainer.state.stage.value)

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            seen.append(trainer.state.stage.value)

    fit(tmp_path, Net(), Looks(), val_dataloaders=rows(1))
    assert seen == ["sanity_check", "sanity_check", "train", "validate", "train"]


def test_anomalies_are_looked_for_while_fitting_only(tmp_path: Path) -> None:
    seen: list[bool] = []

    class Looks(Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            seen.append(torch.is_anomaly_enabled())

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that it's slow
        fit(tmp_path, Net(), Looks(), detect_anomaly=True)
    fit(tmp_path, Net(), Looks())
    assert seen == [True, False]
    assert not torch.is_anomaly_enabled()


def test_deterministic_algorithms_are_used_for_the_time_of_the_run(tmp_path: Path) -> None:
    seen: list[bool] = []

    class Looks(Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            seen.append(torch.are_deterministic_algorithms_enabled())

    fit(tmp_path, Net(), Looks(), deterministic=True)
    assert seen == [True]
    assert not torch.are_deterministic_algorithms_enabled()


def test_module_is_trained_as_it_is_given_back(tmp_path: Path) -> None:
    net = Net()
    trainer = fit(tmp_path, net)
    assert trainer.model is trainer.lightning_module is net
    assert net.trainer is trainer
    assert net.training


def test_layers_made_in_configure_model_are_trained(tmp_path: Path) -> None:
    class Late(Net):
        def __init__(self) -> None:
            super().__init__()
            self.late: Any = None

        def configure_model(self) -> None:
            if self.late is None:
                self.late = torch.nn.Linear(1, 1, bias=False)
                torch.nn.init.ones_(self.late.weight)

        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            return self.late(self.layer(batch)).square().mean()

    net = Late()
    trainer = trainer_with(tmp_path, limit_val_batches=0, max_epochs=1)
    trainer.fit(net, rows())
    assert net.late.weight.item() != 1.0
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = Late()
    trainer_with(tmp_path).test(again, rows(1), ckpt_path=tmp_path / "x.ckpt", verbose=False)
    assert torch.equal(again.late.weight, net.late.weight)


def test_evaluation_makes_no_optimizer(tmp_path: Path) -> None:
    class Refuses(Net):
        def configure_optimizers(self) -> Any:
            raise AssertionError

    trainer = trainer_with(tmp_path)
    trainer.validate(Refuses(), rows(1), verbose=False)
    assert trainer.optimizers == []


def test_frozen_modules_stay_in_their_mode_while_training(tmp_path: Path) -> None:
    modes: list[bool] = []

    class Frozen(Net):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = torch.nn.BatchNorm1d(3).eval()

        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            modes.append(self.backbone.training)
            return self.loss(batch)

    fit(tmp_path, Frozen(), val_dataloaders=rows(1), max_epochs=2)
    assert modes == [False] * 8


def test_fast_dev_run_trains_validates_and_tests_a_few_batches(tmp_path: Path) -> None:
    heard, net = Heard(), Net()
    trainer = trainer_with(tmp_path, heard, fast_dev_run=2, max_epochs=5)
    trainer.fit(net, rows(), rows())
    trainer.test(net, rows(), verbose=False)
    assert len(trainer.predict(net, rows()) or []) == 2
    names = ("on_train_batch_end", "on_validation_batch_end", "on_test_batch_end", "on_sanity_check_start")
    assert [heard.count(name) for name in names] == [2, 2, 2, 0]
    assert (trainer.max_epochs, trainer.max_steps, trainer.current_epoch) == (1, 2, 1)


def test_fast_dev_run_says_nothing_about_rare_logging(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        trainer_with(tmp_path, logger=True, fast_dev_run=True, log_every_n_steps=50).fit(Net(), rows())
        trainer_with(tmp_path, logger=True, max_epochs=1, log_every_n_steps=50).fit(Net(), rows())
    assert len([warning for warning in said if "rarely logged" in str(warning.message)]) == 1


class Ends(Callback):
    """Ends fitting before it trains."""

    role = Role.TUNER

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        raise EndOfFit


def test_a_fit_may_end_in_good_order_before_anything_is_trained(tmp_path: Path) -> None:
    net, heard = Net(), Heard()
    trainer = fit(tmp_path, net, heard, Ends())
    assert heard.names == ["setup", "teardown"]
    assert trainer.global_step == 0
    assert trainer.state.finished
    trainer.callbacks = [heard]
    trainer.fit(net, rows(2))
    assert trainer.global_step == 2
