from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Heard, Journal, ManualNet, Net, Saver, fit, rows, trainer_with
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from lt_interfaces.callback import Callback
from lt_interfaces.errors import MisconfigurationException


class Everything(Net):
    """What makes a resume hard: dropout, momentum, a schedule that watches a metric, and shuffled data."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.losses: list[float] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        loss = self.loss(self.drop(batch))
        self.losses.append(loss.item())
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.5)
        plateau = {"scheduler": ReduceLROnPlateau(optimizer, patience=0, threshold=0.5), "monitor": self.monitor}
        return [optimizer], [plateau, {"scheduler": StepLR(optimizer, 3, gamma=0.9), "interval": "step"}]

    monitor = "val_loss"


class WatchesTraining(Everything):
    monitor = "loss_epoch"


def train(root: Path, module: Everything, *callbacks: Any, seed: int, **arguments: Any) -> tuple[Any, Journal]:
    torch.manual_seed(seed)
    journal = Journal()
    options = {"max_epochs": 4, "logger": journal, "log_every_n_steps": 1, "val_dataloaders": rows(2), **arguments}
    trainer = fit(root, module, *callbacks, data=rows(4, shuffle=True), **options)
    return trainer, journal


# --- bit for bit ---


@pytest.mark.parametrize("kind", [Everything, WatchesTraining])
@pytest.mark.parametrize(
    ("hook", "nth", "arguments"),
    [
        ("on_train_epoch_end", 2, {}),
        ("on_train_epoch_end", 2, {"num_sanity_val_steps": 0}),
        ("on_train_epoch_end", 1, {"accumulate_grad_batches": 3}),
        ("on_train_epoch_start", 3, {}),
        ("on_train_epoch_end", 2, {"check_val_every_n_epoch": 1, "val_check_interval": 2}),
        ("on_train_epoch_end", 3, {"reload_dataloaders_every_n_epochs": 2}),
        ("on_train_batch_end", 8, {}),
        ("on_validation_end", 2, {"num_sanity_val_steps": 0}),
    ],
)
def test_resumed_run_equals_the_uninterrupted_one_bit_for_bit(
    kind: type[Everything], hook: str, nth: int, arguments: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "x.ckpt"
    whole, resumed = kind(), kind()
    trainer, journal = train(tmp_path, whole, Saver(path, hook, nth), seed=1, **arguments)
    nn.init.ones_(resumed.layer.bias)
    again, journal_again = train(tmp_path, resumed, seed=2, ckpt_path=path, **arguments)
    assert torch.equal(resumed.weights, whole.weights)
    assert resumed.losses == whole.losses[-len(resumed.losses) :]
    assert again.optimizers[0].param_groups[0]["lr"] == trainer.optimizers[0].param_groups[0]["lr"]
    assert (again.global_step, again.current_epoch) == (trainer.global_step, trainer.current_epoch)
    assert journal_again.sent == journal.sent[-len(journal_again.sent) :]
    assert {name: value.item() for name, value in again.callback_metrics.items()} == {
        name: value.item() for name, value in trainer.callback_metrics.items()
    }


def test_run_saved_after_its_last_epoch_goes_on_as_a_longer_one(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    whole, first, second = Everything(), Everything(), Everything()
    train(tmp_path, whole, seed=1)
    trainer, _ = train(tmp_path, first, seed=1, max_epochs=2)
    trainer.save_checkpoint(path)
    train(tmp_path, second, seed=2, ckpt_path=path)
    assert torch.equal(second.weights, whole.weights)


def test_two_fits_of_one_trainer_equal_one(tmp_path: Path) -> None:
    whole, parts = Everything(), Net()
    trainer = fit(tmp_path, whole, val_dataloaders=rows(2), max_epochs=1)
    assert trainer.current_epoch == 1
    trainer = trainer_with(tmp_path, limit_val_batches=0)
    trainer.fit(parts, rows())
    trainer.fit_loop.max_epochs = 3
    trainer.fit(parts, rows())
    at_once = Net()
    fit(tmp_path, at_once, max_epochs=3)
    assert torch.equal(parts.weights, at_once.weights)
    assert (trainer.global_step, trainer.current_epoch) == (12, 3)


# --- where it goes on ---


class Places(Callback):
    def __init__(self) -> None:
        self.trained: list[tuple[int, int]] = []
        self.epochs: list[int] = []

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.epochs.append(trainer.current_epoch)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.trained.append((trainer.current_epoch, batch_idx))


@pytest.fixture
def one_epoch(tmp_path: Path) -> Path:
    """A checkpoint that was saved when one epoch of four batches was over."""
    fit(tmp_path, Net()).save_checkpoint(tmp_path / "one.ckpt")
    return tmp_path / "one.ckpt"


def test_resume_goes_on_with_the_next_epoch(one_epoch: Path, tmp_path: Path) -> None:
    places = Places()
    trainer = fit(tmp_path, Net(), places, ckpt_path=one_epoch, max_epochs=2)
    assert places.trained == [(1, index) for index in range(4)]
    assert places.epochs == [1]
    assert (trainer.global_step, trainer.current_epoch) == (8, 2)


def test_resume_of_a_run_that_is_over_trains_nothing(one_epoch: Path, tmp_path: Path) -> None:
    heard = Heard()
    trainer = fit(tmp_path, Net(), heard, ckpt_path=one_epoch, max_epochs=1)
    assert heard.names == ["setup", "on_load_checkpoint", "on_fit_start", "on_fit_end", "teardown"]
    assert (trainer.global_step, trainer.current_epoch) == (4, 1)


def test_resume_past_max_epochs_is_refused(tmp_path: Path) -> None:
    fit(tmp_path, Net(), max_epochs=3).save_checkpoint(tmp_path / "x.ckpt")
    with pytest.raises(MisconfigurationException, match=r"after 3 epochs.*`max_epochs=2`"):
        fit(tmp_path, Net(), ckpt_path=tmp_path / "x.ckpt", max_epochs=2)


def test_resume_of_a_run_cut_short_by_max_steps_begins_the_next_epoch(tmp_path: Path) -> None:
    fit(tmp_path, Net(), max_steps=3).save_checkpoint(tmp_path / "x.ckpt")
    places = Places()
    trainer = fit(tmp_path, Net(), places, ckpt_path=tmp_path / "x.ckpt", max_epochs=2)
    assert places.trained == [(1, index) for index in range(4)]
    assert trainer.global_step == 7


def test_resume_in_mid_epoch_goes_on_with_the_next_batch(tmp_path: Path) -> None:
    path, places, seen = tmp_path / "x.ckpt", Places(), []

    class Sees(Net):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            seen.append(batch)
            return self.loss(batch)

    fit(tmp_path, Net(), Saver(path, "on_train_batch_end", 3))
    fit(tmp_path, Sees(), places, ckpt_path=path)
    assert places.trained == [(0, 3)]
    assert places.epochs == []  # the epoch began before the checkpoint
    assert torch.equal(seen[0], list(rows())[3])


def test_resume_after_the_last_batch_of_an_epoch_ends_the_epoch(tmp_path: Path) -> None:
    path, heard, whole, resumed = tmp_path / "x.ckpt", Heard(), Net(), Net()
    arguments = {"val_dataloaders": rows(1), "num_sanity_val_steps": 0, "max_epochs": 2}
    fit(tmp_path, whole, Saver(path, "on_validation_end", 1), **arguments)
    trainer = fit(tmp_path, resumed, heard, ckpt_path=path, **arguments)
    assert torch.equal(resumed.weights, whole.weights)
    assert (trainer.global_step, trainer.current_epoch) == (8, 2)
    names = ("on_train_epoch_start", "on_train_batch_start", "on_validation_start", "on_train_epoch_end")
    assert [heard.count(name) for name in names] == [1, 4, 1, 2]  # the first epoch has only its end to come


def test_epoch_metrics_go_on_where_a_checkpoint_in_mid_epoch_left_them(tmp_path: Path) -> None:
    class Logs(Net):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            loss = self.loss(batch)
            self.log("loss", loss, on_step=False, on_epoch=True)
            return loss

    path = tmp_path / "x.ckpt"
    whole = fit(tmp_path, Logs(), Saver(path, "on_train_batch_end", 3))
    resumed = fit(tmp_path, Logs(), ckpt_path=path)
    assert torch.equal(resumed.callback_metrics["loss"], whole.callback_metrics["loss"])


def test_steps_of_every_optimizer_are_counted_on(tmp_path: Path) -> None:
    class Two(ManualNet):
        num_optimizers = 2

    fit(tmp_path, Two()).save_checkpoint(tmp_path / "x.ckpt")
    assert fit(tmp_path, Two(), ckpt_path=tmp_path / "x.ckpt", max_epochs=2).global_step == 16


# --- what is given back ---


class Stateful(Callback):
    def __init__(self) -> None:
        self.given: Any = None
        self.order: list[str] = []

    def state_dict(self) -> dict[str, Any]:
        return {"where": Path("here"), "count": 3}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.given = state_dict
        self.order.append("state")

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Any) -> None:
        self.order.append(f"file with step {checkpoint['global_step']}")


@pytest.mark.parametrize("stage", ["fit", "validate", "test", "predict"])
def test_callbacks_get_the_file_and_then_their_state(stage: str, tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    fit(tmp_path, Net(), Stateful()).save_checkpoint(path)
    callback = Stateful()
    trainer = trainer_with(tmp_path, callback, limit_val_batches=1)
    getattr(trainer, stage)(Net(), *([rows(), rows(1)] if stage == "fit" else [rows(1)]), ckpt_path=path)
    assert callback.order == ["file with step 4", "state"]
    assert callback.given == {"where": Path("here"), "count": 3}


def test_states_without_a_callback_are_worth_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    fit(tmp_path, Net(), Stateful()).save_checkpoint(path)
    with pytest.warns(UserWarning, match="nothing in this run takes: callback Stateful"):
        fit(tmp_path, Net(), ckpt_path=path, max_epochs=2)
    trainer_with(tmp_path).validate(Net(), rows(1), ckpt_path=path, verbose=False)  # there nobody misses them


def test_module_sees_the_file_before_its_weights_are_loaded(one_epoch: Path, tmp_path: Path) -> None:
    class Changes(Net):
        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["state_dict"]["layer.bias"].fill_(9.0)

    net = Changes()
    trainer_with(tmp_path).validate(net, rows(1), ckpt_path=one_epoch, verbose=False)
    assert net.layer.bias.item() == 9.0


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_evaluation_loads_the_weights(stage: str, tmp_path: Path) -> None:
    path, trained, net = tmp_path / "x.ckpt", Net(), Net()
    fit(tmp_path, trained).save_checkpoint(path, weights_only=True)
    trainer = trainer_with(tmp_path)
    getattr(trainer, stage)(net, rows(1), ckpt_path=path)
    assert torch.equal(net.weights, trained.weights)
    assert trainer.global_step == 0


class Larger(Net):
    def __init__(self) -> None:
        super().__init__()
        self.more = nn.Linear(1, 1)


def test_weights_must_match_unless_told_otherwise(one_epoch: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"more\.weight"):
        trainer_with(tmp_path).validate(Larger(), rows(1), ckpt_path=one_epoch, verbose=False)
    lenient = Larger()
    lenient.strict_loading = False
    trainer_with(tmp_path).validate(lenient, rows(1), ckpt_path=one_epoch, verbose=False)


def test_datamodule_gets_its_state(tmp_path: Path) -> None:
    from lt_datamodules import LightningDataModule  # a sibling that lt-core's users have, but lt-core doesn't need

    class Data(LightningDataModule):
        given: Any = None

        def train_dataloader(self) -> Any:
            return rows()

        def state_dict(self) -> dict[str, Any]:
            return {"seen": 4, "root": Path("x")}

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            self.given = state_dict

    path, data = tmp_path / "x.ckpt", Data()
    fit(tmp_path, Net(), datamodule=Data(), limit_val_batches=0).save_checkpoint(path)
    fit(tmp_path, Net(), datamodule=data, ckpt_path=path, max_epochs=2, limit_val_batches=0)
    assert data.given == {"seen": 4, "root": Path("x")}


# --- files that don't fit ---


def test_file_of_weights_alone_cannot_be_resumed_from(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    fit(tmp_path, Net()).save_checkpoint(path, weights_only=True)
    with pytest.raises(KeyError, match=r"saved for weights only.*load_from_checkpoint"):
        fit(tmp_path, Net(), ckpt_path=path, max_epochs=2)


def test_another_number_of_optimizers_is_refused(tmp_path: Path) -> None:
    class Two(ManualNet):
        num_optimizers = 2

    path = tmp_path / "x.ckpt"
    fit(tmp_path, Two()).save_checkpoint(path)
    with pytest.raises(ValueError, match=r"2 optimizers.*returned 1"):
        fit(tmp_path, ManualNet(), ckpt_path=path, max_epochs=2)


class Scheduled(Net):
    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimizer], [StepLR(optimizer, 1)]


def test_schedulers_that_are_left_over_are_refused_unless_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    fit(tmp_path, Scheduled()).save_checkpoint(path)
    with pytest.raises(ValueError, match=r"1 learning-rate schedulers.*returned 0.*`strict=False`"):
        fit(tmp_path, Net(), ckpt_path=path, max_epochs=2)
    assert fit(tmp_path, Net(), ckpt_path=path, max_epochs=2, strict=False).global_step == 8


def test_every_component_without_a_state_is_named(one_epoch: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"no state for: callback Stateful, scheduler 0 \(StepLR\)\..*`strict=False` to `fit`"
    ):
        fit(tmp_path, Scheduled(), Stateful(), ckpt_path=one_epoch, max_epochs=2)


def test_components_without_a_state_start_anew_where_that_is_wanted(
    one_epoch: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    callback = Stateful()
    trainer = fit(tmp_path, Scheduled(), callback, ckpt_path=one_epoch, max_epochs=2, strict=False)
    assert (trainer.global_step, callback.given) == (8, None)
    assert "Not in it, so started anew: callback Stateful, scheduler 0 (StepLR)." in caplog.text


def test_file_that_lost_its_data_position_is_refused_unless_told_otherwise(one_epoch: Path, tmp_path: Path) -> None:
    checkpoint = torch.load(one_epoch, weights_only=True)
    del checkpoint["lt"]["data"]
    torch.save(checkpoint, one_epoch)
    with pytest.raises(ValueError, match="no state for: data position, random state"):
        fit(tmp_path, Net(), ckpt_path=one_epoch, max_epochs=2)
    assert fit(tmp_path, Net(), ckpt_path=one_epoch, max_epochs=2, strict=False).current_epoch == 2


def test_what_was_restored_is_said(one_epoch: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fit(tmp_path, Net(), ckpt_path=one_epoch, max_epochs=2)
    restored = "weights, optimizer 0 (SGD), data position, random state, logged values"
    assert f"Resumed from `{one_epoch}`. Restored: {restored}." in caplog.text


def test_callback_that_had_no_state_is_not_missed(tmp_path: Path) -> None:
    class Sometimes(Stateful):
        def __init__(self, state: dict[str, Any]) -> None:
            super().__init__()
            self.state = state

        def state_dict(self) -> dict[str, Any]:
            return self.state

    path = tmp_path / "x.ckpt"
    fit(tmp_path, Net(), Sometimes({})).save_checkpoint(path)
    callback = Sometimes({"a": 1})
    fit(tmp_path, Net(), callback, ckpt_path=path, max_epochs=2)
    assert callback.given is None


def test_weights_alone_can_be_gone_on_from_where_that_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    fit(tmp_path, Net()).save_checkpoint(path, weights_only=True)
    trainer = fit(tmp_path, Net(), ckpt_path=path, max_epochs=2, strict=False)
    assert (trainer.current_epoch, trainer.global_step) == (2, 8)


def test_file_without_weights_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 1}, tmp_path / "x.ckpt")
    with pytest.raises(KeyError, match="state_dict"):
        fit(tmp_path, Net(), ckpt_path=tmp_path / "x.ckpt")


@pytest.mark.parametrize("key", ["callbacks", "pytorch-lightning_version", "loops"])
def test_keys_that_other_tools_leave_out_are_not_missed(key: str, one_epoch: Path, tmp_path: Path) -> None:
    checkpoint = torch.load(one_epoch, weights_only=True)
    del checkpoint[key], checkpoint["lt"]
    torch.save(checkpoint, one_epoch)
    callback = Stateful()
    trainer = fit(tmp_path, Net(), callback, ckpt_path=one_epoch, max_epochs=2)
    assert callback.order == ["file with step 4"]
    assert trainer.global_step == 8


class NotPlain:
    """What only pickle can store."""


def test_objects_are_unpickled_only_where_the_user_trusts_the_file(one_epoch: Path, tmp_path: Path) -> None:
    checkpoint = torch.load(one_epoch, weights_only=True)
    torch.save({**checkpoint, "odd": NotPlain()}, one_epoch)
    with pytest.raises(Exception, match="weights_only=False"):
        fit(tmp_path, Net(), ckpt_path=one_epoch, max_epochs=2)
    trainer = trainer_with(tmp_path, max_epochs=2, limit_val_batches=0)
    trainer.fit(Net(), rows(), ckpt_path=one_epoch, weights_only=False)
    assert trainer.global_step == 8


def test_values_of_validation_batches_go_on_where_they_stood_in_spite_of_a_sanity_check(tmp_path: Path) -> None:
    class PerBatch(Net):
        def validation_step(self, batch: Tensor, batch_idx: int) -> None:
            self.log("v", self.loss(batch), on_step=True, on_epoch=False)

    def steps_of(**arguments: Any) -> list[int | None]:
        journal = Journal()
        trainer = fit(tmp_path, PerBatch(), logger=journal, val_dataloaders=rows(2), **arguments)
        trainer.save_checkpoint(tmp_path / "x.ckpt")
        return [step for step, metrics in journal.sent if "v_step" in metrics or "v" in metrics]

    assert steps_of(max_epochs=1) == [0, 1]
    assert steps_of(max_epochs=2, ckpt_path=tmp_path / "x.ckpt") == [2, 3]
