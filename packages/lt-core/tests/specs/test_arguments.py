import inspect
import math
import re
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from datetime import timedelta
from typing import Any, Final

import pytest

from lt_core.specs.arguments import (
    ARGUMENT_DEFAULTS,
    environment_defaults,
    trainer_specs,
    unknown_argument_error,
)
from lt_interfaces.callback import Callback
from lt_interfaces.errors import MisconfigurationException

DEFAULTS: Final[dict[str, Any]] = {
    "accelerator": "auto",
    "strategy": "auto",
    "devices": "auto",
    "num_nodes": 1,
    "precision": None,
    "logger": None,
    "callbacks": None,
    "fast_dev_run": False,
    "max_epochs": None,
    "min_epochs": None,
    "max_steps": -1,
    "min_steps": None,
    "max_time": None,
    "limit_train_batches": None,
    "limit_val_batches": None,
    "limit_test_batches": None,
    "limit_predict_batches": None,
    "overfit_batches": 0.0,
    "val_check_interval": None,
    "check_val_every_n_epoch": 1,
    "num_sanity_val_steps": None,
    "log_every_n_steps": None,
    "enable_checkpointing": None,
    "enable_progress_bar": None,
    "enable_model_summary": None,
    "accumulate_grad_batches": 1,
    "gradient_clip_val": None,
    "gradient_clip_algorithm": None,
    "deterministic": None,
    "benchmark": None,
    "inference_mode": True,
    "use_distributed_sampler": True,
    "profiler": None,
    "detect_anomaly": False,
    "barebones": False,
    "plugins": None,
    "sync_batchnorm": False,
    "reload_dataloaders_every_n_epochs": 0,
    "default_root_dir": None,
    "enable_autolog_hparams": True,
    "model_registry": None,
    "suggest_integrations": True,
    "seed_items": None,
    "uneven_data": "stop",
    "log_gradient_norm": False,
    "compile": False,
}

MC: Final = MisconfigurationException
SWITCH: Final[list[tuple[Any, type[Exception]]]] = [
    (1, TypeError),
    (0, TypeError),
    (-1, TypeError),
    (math.nan, TypeError),
    ("yes", TypeError),
    ([], TypeError),
]
BATCHES: Final[list[tuple[Any, type[Exception]]]] = [
    (-1, MC),
    (-0.5, MC),
    (1.5, MC),
    (math.nan, MC),
    (math.inf, MC),
    ("all", TypeError),
    (True, TypeError),
    ([1], TypeError),
]
MINIMUM: Final[list[tuple[Any, type[Exception]]]] = [
    (-1, MC),
    (1.5, TypeError),
    (math.nan, TypeError),
    ("2", TypeError),
]

REFUSED: Final[dict[str, list[tuple[Any, type[Exception]]]]] = {
    "accelerator": [("gup", MC), (3, MC), (None, MC), (math.nan, MC)],
    "strategy": [("dpp", MC), (3, MC), (None, MC), (-1, MC)],
    "devices": [(0, MC), ("0", MC), ([], MC), (-2, MC), ("two", MC), (math.nan, TypeError), (True, TypeError)],
    "num_nodes": [(0, MC), (-1, MC), ("2", ValueError), (1.5, ValueError), (math.nan, ValueError), (True, ValueError)],
    "precision": [(8, MC), (0, MC), ("bf16-mixd", MC), (math.nan, MC), ([], MC)],
    "logger": [(3, TypeError), (math.nan, TypeError), ("csb", MC), ([3], TypeError)],
    "callbacks": [("x", TypeError), (3, TypeError), ([3], TypeError), (Callback, TypeError)],
    "fast_dev_run": [(-1, MC), (1.5, MC), (math.nan, MC), ("yes", MC), (None, MC)],
    "max_epochs": [(-2, MC), (1.5, TypeError), (math.nan, TypeError), ("3", TypeError), (True, TypeError)],
    "min_epochs": MINIMUM,
    "max_steps": [(-2, MC), (1e4, TypeError), (math.nan, TypeError), ("3", TypeError), (None, TypeError)],
    "min_steps": MINIMUM,
    "max_time": [("1h", MC), ("00:00:00:00", MC), (timedelta(seconds=-1), MC), ({"hour": 1}, MC), (3, TypeError)],
    "limit_train_batches": BATCHES,
    "limit_val_batches": BATCHES,
    "limit_test_batches": BATCHES,
    "limit_predict_batches": BATCHES,
    "overfit_batches": [*BATCHES, (None, TypeError)],
    "val_check_interval": [
        (0, MC),
        (-1, MC),
        (1.5, MC),
        (math.nan, MC),
        ("1h", MC),
        ({"hour": 1}, MC),
        ([1], TypeError),
    ],
    "check_val_every_n_epoch": [(0, MC), (-1, MC), (1.5, MC), (math.nan, MC), ("2", MC), (True, MC)],
    "num_sanity_val_steps": [(-2, MC), (1.5, TypeError), (math.nan, TypeError), ("2", TypeError)],
    "log_every_n_steps": [(-1, MC), (1.5, TypeError), (math.nan, TypeError), ("50", TypeError), (True, TypeError)],
    "enable_checkpointing": SWITCH,
    "enable_progress_bar": SWITCH,
    "enable_model_summary": SWITCH,
    "accumulate_grad_batches": [(0, MC), (-1, MC), (1.5, TypeError), (math.nan, TypeError), ({0: 2}, TypeError)],
    "gradient_clip_val": [(-1, MC), (math.nan, MC), (math.inf, MC), ("1", TypeError), (True, TypeError)],
    "gradient_clip_algorithm": [("vlaue", MC), (2, MC), (math.nan, MC), (True, MC)],
    "deterministic": [("wran", MC), *SWITCH[:4]],
    "benchmark": SWITCH,
    "inference_mode": SWITCH,
    "use_distributed_sampler": SWITCH,
    "profiler": [("smple", MC), (3, MC), (math.nan, MC), (True, MC)],
    "detect_anomaly": SWITCH,
    "log_gradient_norm": SWITCH,
    "compile": [
        (1, TypeError),
        (None, TypeError),
        ("default", TypeError),
        ({"fulgraph": True}, MC),
        ({"mode": "fast"}, MC),
        ({"backend": "inducter"}, MC),
    ],
    "barebones": SWITCH,
    "plugins": [("bf16", MC), (3, MC), ([3], MC), (math.nan, MC)],
    "sync_batchnorm": SWITCH,
    "reload_dataloaders_every_n_epochs": [(-1, MC), (1.5, MC), (math.nan, MC), ("2", MC), (True, MC), (None, MC)],
    "default_root_dir": [(3, TypeError), (math.nan, TypeError), (b"runs", TypeError), ("", MC)],
    "enable_autolog_hparams": SWITCH,
    "model_registry": [(3, TypeError), (True, TypeError), (math.nan, TypeError)],
    "suggest_integrations": SWITCH,
    "uneven_data": [("sotp", MC), (None, MC), (1, MC), (True, MC)],
    "seed_items": [(-1, MC), (1.0, TypeError), (math.nan, TypeError), ("yes", TypeError), ([], TypeError)],
}


def test_arguments_and_their_defaults_are_those_that_users_know() -> None:
    assert dict(ARGUMENT_DEFAULTS) == DEFAULTS


def test_the_defaults_are_accepted() -> None:
    assert trainer_specs(**DEFAULTS) == trainer_specs()


def test_wrong_values_are_listed_for_every_argument() -> None:
    assert REFUSED.keys() == DEFAULTS.keys()


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [(name, value, error) for name, cases in REFUSED.items() for value, error in cases],
)
def test_a_wrong_value_is_refused_by_name(name: str, value: Any, error: type[Exception]) -> None:
    shown = value[0] if value and isinstance(value, list) and name in ("logger", "callbacks", "plugins") else value
    with pytest.raises(error, match=rf"^`{name}` .*{re.escape(repr(shown).strip(chr(39)))}") as caught:
        trainer_specs(**{name: value})
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("accelerator", "gup", "gpu"),
        ("strategy", "dpp", "ddp"),
        ("precision", "bf16-mixd", "bf16-mixed"),
        ("logger", "tensorbord", "tensorboard"),
        ("profiler", "smple", "simple"),
        ("gradient_clip_algorithm", "nrom", "norm"),
        ("deterministic", "wran", "warn"),
    ],
)
def test_a_misspelt_string_is_told_what_it_may_have_meant(name: str, value: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"Did you mean `{meant}`"):
        trainer_specs(**{name: value})


def test_a_misspelt_argument_is_told_what_it_may_have_meant() -> None:
    with pytest.raises(TypeError, match=r"`max_epoch`\. Did you mean `max_epochs`"):
        trainer_specs(max_epoch=3)


def test_every_unknown_argument_is_named() -> None:
    error = unknown_argument_error(["max_epoch", "devices", "colour"], DEFAULTS)
    assert "`max_epoch`" in str(error)
    assert "`colour`" in str(error)
    assert "`devices`" not in str(error)


def test_a_fast_dev_run_validates_once_without_a_sanity_check() -> None:
    specs = trainer_specs(fast_dev_run=2, val_check_interval=5, check_val_every_n_epoch=3, num_sanity_val_steps=4)
    limits, evaluation = specs.limits, specs.evaluation
    assert (limits.limit_train_batches, limits.limit_val_batches) == (2, 2)
    assert (limits.limit_test_batches, limits.limit_predict_batches) == (2, 2)
    assert (limits.max_epochs, limits.max_steps) == (1, 2)
    assert (evaluation.val_check_interval, evaluation.check_val_every_n_epoch) == (1.0, 1)
    assert evaluation.num_sanity_val_steps == 0


def test_overfitting_keeps_the_limit_of_tests() -> None:
    limits = trainer_specs(overfit_batches=3).limits
    assert (limits.limit_train_batches, limits.limit_val_batches, limits.limit_test_batches) == (3, 3, 1.0)


def test_the_users_list_of_callbacks_is_never_changed() -> None:
    callbacks = [Callback()]
    specs = trainer_specs(callbacks=callbacks)
    assert specs.callbacks == tuple(callbacks)
    assert len(callbacks) == 1


def test_specs_are_frozen() -> None:
    specs = trainer_specs()
    with pytest.raises(FrozenInstanceError):
        specs.limits.max_epochs = 3  # type: ignore[misc]  # that it can't be done is the point


def constructor() -> inspect.Signature:
    def make(self: object, max_epochs: Any = None, *args: Any, devices: Any = "auto", **kwargs: Any) -> None: ...

    return inspect.signature(make)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("None", None),
        ("[0, 2]", [0, 2]),
        ("0,1", (0, 1)),
        ("bf16-mixed", "bf16-mixed"),
        ("00:12:00:00", "00:12:00:00"),
        ("(" * 10_000, "(" * 10_000),
    ],
)
def test_a_variable_is_a_literal_or_else_a_string(text: str, value: object) -> None:
    found = environment_defaults("Trainer", constructor(), environment={"PL_TRAINER_DEVICES": text})
    assert found == {"devices": value}


def test_variables_that_are_empty_or_of_another_class_dont_count() -> None:
    variables = {
        "PL_TRAINER_MAX_EPOCHS": "",
        "PL_MYTRAINER_DEVICES": "2",
        "PL_TRAINER_KWARGS": "3",
        "PL_TRAINER_SELF": "1",
    }
    assert environment_defaults("Trainer", constructor(), environment=variables) == {}
    assert environment_defaults("MyTrainer", constructor(), environment=variables) == {"devices": 2}


def test_variables_are_read_from_the_process_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_TRAINER_MAX_EPOCHS", "7")
    assert environment_defaults("Trainer", constructor()) == {"max_epochs": 7}


@pytest.mark.parametrize(
    "resolver_input", [lambda: trainer_specs(devices=(0, 1)), lambda: trainer_specs(devices=[0, 1])]
)
def test_devices_from_a_variable_and_from_a_list_mean_the_same(resolver_input: Callable[[], Any]) -> None:
    assert resolver_input().hardware.devices == [0, 1]
