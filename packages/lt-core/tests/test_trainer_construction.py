import re
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import QUIET, Net, rows
from torch import Tensor

from lt_core import Trainer
from lt_core.specs import ARGUMENT_DEFAULTS

APPENDIX_B = """
accelerator='auto', strategy='auto', devices='auto', num_nodes=1, precision=None, logger=None, callbacks=None,
fast_dev_run=False, max_epochs=None, min_epochs=None, max_steps=-1, min_steps=None, max_time=None,
limit_train_batches=None, limit_val_batches=None, limit_test_batches=None, limit_predict_batches=None,
overfit_batches=0.0, val_check_interval=None, check_val_every_n_epoch=1, num_sanity_val_steps=None,
log_every_n_steps=None, enable_checkpointing=None, enable_progress_bar=None, enable_model_summary=None,
accumulate_grad_batches=1, gradient_clip_val=None, gradient_clip_algorithm=None, deterministic=None, benchmark=None,
inference_mode=True, use_distributed_sampler=True, profiler=None, detect_anomaly=False, barebones=False, plugins=None,
sync_batchnorm=False, reload_dataloaders_every_n_epochs=0, default_root_dir=None, enable_autolog_hparams=True,
model_registry=None, suggest_integrations=True, seed_items=None, uneven_data='stop',
log_gradient_norm=False, compile=False
"""
"""The signature that users know, in its order, and our own arguments at its end."""


def constructor() -> dict[str, Parameter]:
    return {name: part for name, part in signature(Trainer).parameters.items() if name != "self"}


# --- the constructor ---


def test_arguments_are_those_that_users_know_in_their_order() -> None:
    written = re.sub(r"\s+", " ", APPENDIX_B).strip()
    assert ", ".join(f"{name}={part.default!r}" for name, part in constructor().items()) == written


def test_defaults_are_those_of_the_specs() -> None:
    assert {name: part.default for name, part in constructor().items()} == dict(ARGUMENT_DEFAULTS)


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        (
            "fit",
            "model, train_dataloaders=None, val_dataloaders=None, datamodule=None, ckpt_path=None, weights_only=None,"
            " strict=True",
        ),
        ("validate", "model=None, dataloaders=None, ckpt_path=None, verbose=True, datamodule=None, weights_only=None"),
        ("test", "model=None, dataloaders=None, ckpt_path=None, verbose=True, datamodule=None, weights_only=None"),
        (
            "predict",
            "model=None, dataloaders=None, datamodule=None, return_predictions=None, ckpt_path=None, weights_only=None,"
            " gather=False",
        ),
        ("save_checkpoint", "filepath, weights_only=None, storage_options=None"),
    ],
)
def test_methods_take_what_users_know(method: str, parameters: str) -> None:
    parts = [part for name, part in signature(getattr(Trainer, method)).parameters.items() if name != "self"]
    shown = [part.name if part.default is Parameter.empty else f"{part.name}={part.default!r}" for part in parts]
    assert ", ".join(shown) == parameters


def test_arguments_may_be_given_by_position() -> None:
    trainer = Trainer("cpu", "auto", 1, **QUIET)
    assert trainer.num_devices == 1
    with pytest.raises(TypeError, match="accelerator"):
        Trainer("cpu", accelerator="cpu")


def test_misspelt_argument_is_told_with_the_right_name() -> None:
    with pytest.raises(TypeError, match=r"`max_epoch`.*`max_epochs`"):
        Trainer(max_epoch=3)  # type: ignore[call-arg]  # that's the mistake


def test_environment_supplies_defaults_that_arguments_go_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_TRAINER_MAX_EPOCHS", "7")
    assert Trainer(**QUIET).max_epochs == 7
    assert Trainer(max_epochs=2, **QUIET).max_epochs == 2


def test_subclass_reads_variables_of_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class MyTrainer(Trainer):
        pass

    monkeypatch.setenv("PL_MYTRAINER_MAX_EPOCHS", "7")
    assert MyTrainer(**QUIET).max_epochs == 7
    assert Trainer(**QUIET).max_epochs is None


# --- barebones ---


def test_barebones_trains_without_everything_that_costs_time(tmp_path: Path) -> None:
    class Logs(Net):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            self.log("loss", 1.0)
            return self.loss(batch)

    trainer = Trainer(barebones=True, max_epochs=1, accelerator="cpu", default_root_dir=tmp_path)
    with pytest.warns(UserWarning, match=r"self\.log"):
        trainer.fit(Logs(), rows(), rows(1))
    assert (trainer.callbacks, trainer.loggers, trainer.callback_metrics) == ([], [], {})
    assert trainer.global_step == 4
