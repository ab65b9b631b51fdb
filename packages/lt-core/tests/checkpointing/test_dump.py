from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Heard, Keeper, Net, Saver, fit, rows, trainer_with
from torch.optim import lr_scheduler

from lt_core import Trainer
from lt_interfaces.callback import Callback

ALWAYS = {"epoch", "global_step", "pytorch-lightning_version", "state_dict", "loops"}
HPARAMS = {"hparams_name", "hyper_parameters"}
TRAINING = {"callbacks", "optimizer_states", "lr_schedulers", "lt"}


class Colour(Enum):
    RED = "red"


class Configured(Net):
    def __init__(self, width: int = 3, root: Path | None = None, **more: Any) -> None:
        super().__init__()
        self.save_hyperparameters()


class Counts(Callback):
    """Has a state."""

    def __init__(self) -> None:
        self.batches = 0

    def on_train_batch_end(self, *args: Any) -> None:
        self.batches += 1

    def state_dict(self) -> dict[str, Any]:
        return {"batches": self.batches, "where": Path("here")}


def load(path: Path) -> dict[str, Any]:
    checkpoint: dict[str, Any] = torch.load(path, weights_only=True)
    return checkpoint


def saved(trainer: Trainer, path: Path, **arguments: Any) -> dict[str, Any]:
    trainer.save_checkpoint(path, **arguments)
    return load(path)


# --- keys ---


def test_file_holds_the_keys_of_the_format_and_one_of_ours(tmp_path: Path) -> None:
    trainer = fit(tmp_path, Configured(), Counts())
    assert set(saved(trainer, tmp_path / "x.ckpt")) == ALWAYS | HPARAMS | TRAINING


def test_file_of_weights_leaves_out_what_only_training_needs(tmp_path: Path) -> None:
    trainer = fit(tmp_path, Configured(), Counts())
    assert set(saved(trainer, tmp_path / "x.ckpt", weights_only=True)) == ALWAYS | HPARAMS


def test_module_without_hyperparameters_has_no_keys_for_them(tmp_path: Path) -> None:
    assert set(saved(fit(tmp_path, Net()), tmp_path / "x.ckpt")) == ALWAYS | TRAINING


def test_version_is_one_that_lightning_compares(tmp_path: Path) -> None:
    version = saved(fit(tmp_path, Net()), tmp_path / "x.ckpt")["pytorch-lightning_version"]
    assert version.split(".")[0] == "2"


def test_weights_are_under_their_full_names(tmp_path: Path) -> None:
    net = Net()
    weights = saved(fit(tmp_path, net), tmp_path / "x.ckpt")["state_dict"]
    assert list(weights) == ["layer.weight", "layer.bias"]
    assert torch.equal(weights["layer.weight"], net.layer.weight)


def test_optimizer_and_scheduler_states_are_torch_own(tmp_path: Path) -> None:
    class Scheduled(Net):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
            return [optimizer], [lr_scheduler.StepLR(optimizer, 1)]

    trainer = fit(tmp_path, Scheduled())
    checkpoint = saved(trainer, tmp_path / "x.ckpt")
    assert len(checkpoint["optimizer_states"]) == len(checkpoint["lr_schedulers"]) == 1
    assert torch.equal(
        checkpoint["optimizer_states"][0]["state"][0]["momentum_buffer"],
        trainer.optimizers[0].state_dict()["state"][0]["momentum_buffer"],
    )
    assert checkpoint["lr_schedulers"][0]["last_epoch"] == 1


def test_only_callbacks_with_state_are_in_the_file(tmp_path: Path) -> None:
    trainer = fit(tmp_path, Net(), Counts(), Heard())
    states = saved(trainer, tmp_path / "x.ckpt")["callbacks"]
    assert list(states) == ["Counts"]
    assert states["Counts"]["batches"] == 4


def test_callbacks_assigned_while_it_runs_are_in_the_file(tmp_path: Path) -> None:
    class Adds(Callback):
        def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
            trainer.callbacks = [*trainer.callbacks, Counts()]

    states = saved(fit(tmp_path, Net(), Adds()), tmp_path / "x.ckpt")["callbacks"]
    assert states["Counts"]["batches"] == 4


# --- hyper-parameters ---


def test_hyperparameters_of_every_accepted_kind_are_in_the_file(tmp_path: Path) -> None:
    net = Configured(4, tmp_path, colour=Colour.RED, span=timedelta(1), shape=[1, (2, 3)])
    checkpoint = saved(fit(tmp_path, net), tmp_path / "x.ckpt")
    assert checkpoint["hparams_name"] == "kwargs"
    again = Configured.load_from_checkpoint(tmp_path / "x.ckpt")
    assert dict(again.hparams) == dict(net.hparams)


def test_hyperparameters_that_no_file_can_hold_are_refused_before_training(tmp_path: Path) -> None:
    heard = Heard()
    net = Configured(tool=object())
    with pytest.raises(TypeError, match=r"hyper_parameters\['tool'\].*ignore="):
        fit(tmp_path, net, heard, Keeper(), enable_checkpointing=None)
    assert heard.count("on_train_start") == 0


def test_hyperparameters_are_the_users_affair_where_nothing_is_saved(tmp_path: Path) -> None:
    assert fit(tmp_path, Configured(tool=object())).global_step == 4


# --- datamodule ---


def test_datamodule_has_its_state_and_hyperparameters_in_the_file(tmp_path: Path) -> None:
    from lt_datamodules import LightningDataModule  # a sibling that lt-core's users have, but lt-core doesn't need

    class Data(LightningDataModule):
        def __init__(self, size: int) -> None:
            super().__init__()
            self.save_hyperparameters()

        def train_dataloader(self) -> Any:
            return rows()

        def state_dict(self) -> dict[str, Any]:
            return {"seen": 4}

    checkpoint = saved(fit(tmp_path, Net(), datamodule=Data(5), limit_val_batches=0), tmp_path / "x.ckpt")
    assert checkpoint["datamodule_hyper_parameters"] == {"size": 5}
    assert checkpoint[Data.__qualname__] == {"seen": 4}


# --- hooks ---


class Adds(Net):
    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["of module"] = self.value


class AddsToo(Callback):
    value: Any = 2

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        assert "of module" not in checkpoint  # callbacks come first
        checkpoint["of callback"] = self.value


def test_hooks_may_add_keys(tmp_path: Path) -> None:
    checkpoint = saved(fit(tmp_path, Adds(1), AddsToo()), tmp_path / "x.ckpt")
    assert (checkpoint["of module"], checkpoint["of callback"]) == (1, 2)


def test_module_alone_may_add_keys_to_a_file_of_weights(tmp_path: Path) -> None:
    checkpoint = saved(fit(tmp_path, Adds(1), AddsToo()), tmp_path / "x.ckpt", weights_only=True)
    assert checkpoint["of module"] == 1
    assert "of callback" not in checkpoint


def test_a_callback_may_put_better_weights_into_a_file_of_weights(tmp_path: Path) -> None:
    class Doubles(Callback):
        def weights_to_save(self, pl_module: Any, state_dict: Any) -> Any:
            return {name: 2 * value for name, value in state_dict.items()}

    net = Net()
    weights = saved(fit(tmp_path, net, Doubles()), tmp_path / "x.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(weights["layer.weight"], 2 * net.layer.weight)


def test_value_that_would_need_pickle_raises_and_leaves_the_previous_file(tmp_path: Path) -> None:
    net, path = Adds(1), tmp_path / "x.ckpt"
    trainer = fit(tmp_path, net)
    trainer.save_checkpoint(path)
    net.value = object()
    with pytest.raises(TypeError, match="of module"):
        trainer.save_checkpoint(path)
    assert load(path)["of module"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["x.ckpt"]


def test_value_of_a_callback_that_would_need_pickle_raises(tmp_path: Path) -> None:
    callback = AddsToo()
    trainer = fit(tmp_path, Net(), callback)
    callback.value = [object()]
    with pytest.raises(TypeError, match="of callback"):
        trainer.save_checkpoint(tmp_path / "x.ckpt")
    assert not (tmp_path / "x.ckpt").exists()


def test_state_of_a_callback_that_would_need_pickle_raises(tmp_path: Path) -> None:
    class Odd(Callback):
        def state_dict(self) -> dict[str, Any]:
            return {"tool": object()}

    trainer = fit(tmp_path, Net(), Odd())
    with pytest.raises(TypeError, match=r"callbacks\.Odd\['tool'\]|callbacks.*Odd.*tool"):
        trainer.save_checkpoint(tmp_path / "x.ckpt")


SCHEDULERS = {
    "lambda": lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.5**epoch),
    "one cycle": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=9),
    "plateau": lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer),
    "cyclic": lambda optimizer: lr_scheduler.CyclicLR(optimizer, 0.1, 0.2),
    "sequence": lambda optimizer: lr_scheduler.SequentialLR(
        optimizer, [lr_scheduler.ConstantLR(optimizer), lr_scheduler.ExponentialLR(optimizer, 0.9)], [2]
    ),
}


@pytest.mark.filterwarnings("ignore:`OneCycleLR` is meant:RuntimeWarning")
@pytest.mark.parametrize("name", list(SCHEDULERS))
def test_files_with_torch_schedulers_load_without_pickle(name: str, tmp_path: Path) -> None:
    class Scheduled(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.loss(batch)
            self.log("loss", loss, on_epoch=True)
            return loss

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.Adam(self.parameters(), betas=(0.8, 0.9))
            scheduler = {"scheduler": SCHEDULERS[name](optimizer), "monitor": "loss"}
            return {"optimizer": optimizer, "lr_scheduler": scheduler}

    path = tmp_path / "x.ckpt"
    trainer = fit(tmp_path, Scheduled())
    expected = trainer.lr_scheduler_configs[0].scheduler.state_dict()
    assert set(saved(trainer, path)["lr_schedulers"][0]) == set(expected)
    assert fit(tmp_path, Scheduled(), ckpt_path=path, max_epochs=2).global_step == 8


# --- counters ---


@pytest.mark.parametrize(
    ("hook", "nth", "epoch", "step", "batch", "epochs"),
    [
        ("on_train_batch_end", 2, 0, 2, 2, {"ready": 1, "started": 1, "processed": 0, "completed": 0}),
        ("on_train_epoch_end", 1, 0, 4, 4, {"ready": 1, "started": 1, "processed": 1, "completed": 0}),
        ("on_train_batch_end", 7, 1, 7, 3, {"ready": 2, "started": 2, "processed": 1, "completed": 1}),
        ("on_train_end", 1, 2, 8, 0, {"ready": 2, "started": 2, "processed": 2, "completed": 2}),
    ],
)
def test_counters_are_those_of_the_moment(
    hook: str, nth: int, epoch: int, step: int, batch: int, epochs: dict[str, int], tmp_path: Path
) -> None:
    path = tmp_path / "x.ckpt"
    fit(tmp_path, Net(), Saver(path, hook, nth), max_epochs=2)
    checkpoint = load(path)
    loop = checkpoint["loops"]["fit_loop"]
    assert (checkpoint["epoch"], checkpoint["global_step"]) == (epoch, step)
    assert loop["epoch_progress"]["current"] == epochs
    assert loop["epoch_loop.batch_progress"]["current"]["processed"] == batch
    assert checkpoint["lt"]["progress"]["batches_in_epoch"] == batch


def test_after_an_evaluation_alone_there_is_nothing_of_training(tmp_path: Path) -> None:
    trainer = trainer_with(tmp_path)
    trainer.validate(Net(), rows(1), verbose=False)
    checkpoint = saved(trainer, tmp_path / "x.ckpt")
    assert (checkpoint["global_step"], checkpoint["optimizer_states"]) == (0, [])


def test_saving_changes_no_random_numbers(tmp_path: Path) -> None:
    trainer = fit(tmp_path, Net())
    torch.manual_seed(0)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    drawn = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(3))
