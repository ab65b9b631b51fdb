"""Which config holds, and what in it is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lt_deepspeed import DeepSpeedStrategy, ZeroOptions
from lt_deepspeed.config import CONFIG_VARIABLE, completed, config_of
from lt_fabric.full_precision import FullPrecision
from lt_interfaces import MisconfigurationException, PrecisionDtypes


class Named(FullPrecision):
    """Stands for a precision of another name."""

    def __init__(self, name: str, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self._name, self._dtype = name, dtype

    @property
    def precision(self) -> str:
        return self._name

    def dtypes(self) -> PrecisionDtypes:
        return PrecisionDtypes(compute=self._dtype)


def config(precision: FullPrecision | None = None, **arguments: Any) -> dict[str, Any]:
    """Return the config of a run with these arguments."""
    given = arguments.pop("config", None)
    return completed(config_of(ZeroOptions(**arguments), given), precision or FullPrecision())


def test_arguments_stand_where_deepspeed_looks_for_them() -> None:
    made = config(
        stage=3,
        offload_optimizer=True,
        offload_parameters=True,
        offload_params_device="nvme",
        nvme_path="/fast",
        params_buffer_count=7,
        partition_activations=True,
        thread_count=3,
        logging_batch_size_per_gpu=16,
    )
    zero = made["zero_optimization"]
    assert zero["stage"] == 3
    assert zero["offload_optimizer"]["device"] == "cpu"
    assert zero["offload_param"] | {"device": "nvme", "nvme_path": "/fast", "buffer_count": 7} == zero["offload_param"]
    assert made["activation_checkpointing"]["partition_activations"]
    assert made["aio"]["thread_count"] == 3
    assert made["train_micro_batch_size_per_gpu"] == 16


def test_nothing_is_offloaded_unless_asked() -> None:
    assert {"offload_optimizer", "offload_param"}.isdisjoint(config(stage=3)["zero_optimization"])


def test_engine_accumulates_and_clips_nothing_by_itself() -> None:
    assert config()["gradient_accumulation_steps"] == 1
    assert config()["gradient_clipping"] == 0.0


@pytest.mark.parametrize(
    "precision", [Named("bf16-mixed"), Named("bf16-true"), Named("own", torch.bfloat16)], ids=["mixed", "true", "own"]
)
def test_bf16_is_the_engines(precision: FullPrecision) -> None:
    assert config(precision)["bf16"] == {"enabled": True}
    assert "fp16" not in config(precision)


def test_fp16_is_scaled_as_asked() -> None:
    made = config(Named("16-mixed"), initial_scale_power=8)
    assert made["fp16"] | {"enabled": True, "initial_scale_power": 8, "loss_scale": 0} == made["fp16"]


def test_full_precision_switches_nothing_on() -> None:
    assert {"bf16", "fp16"}.isdisjoint(config())


def test_own_config_wins_over_the_environment_and_that_over_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "zero.json"
    file.write_text(json.dumps({"zero_optimization": {"stage": 3}}))
    monkeypatch.setenv(CONFIG_VARIABLE, str(file))
    assert config()["zero_optimization"] == {"stage": 3}
    assert config(config={"zero_optimization": {"stage": 1}})["zero_optimization"] == {"stage": 1}
    monkeypatch.delenv(CONFIG_VARIABLE)
    assert config(config=str(file))["zero_optimization"] == {"stage": 3}
    assert config()["zero_optimization"]["stage"] == 2


@pytest.mark.parametrize(
    ("own", "named"),
    [
        ({"gradient_accumulation_steps": 4}, ["gradient_accumulation_steps: 4", "accumulate_grad_batches"]),
        ({"gradient_clipping": 0.5}, ["gradient_clipping: 0.5", "gradient_clip_val"]),
        ({"optimizer": {"type": "Adam"}}, ["optimizer", "configure_optimizers"]),
        ({"scheduler": {"type": "WarmupLR"}}, ["scheduler", "configure_optimizers"]),
        ({"zero_optimization": {}}, ["no `zero_optimization: {stage: ...}`", "1, 2 or 3"]),
        ({"zero_optimization": {"stage": 0}}, ["stage: 0", "strategy='ddp'"]),
    ],
)
def test_keys_that_something_else_decides_on_are_refused_with_both_sides(own: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(MisconfigurationException) as raised:
        DeepSpeedStrategy(config={"zero_optimization": {"stage": 2}, **own})
    assert all(part in str(raised.value) for part in named)


def test_keys_left_to_the_run_are_taken() -> None:
    own = {"gradient_accumulation_steps": "auto", "gradient_clipping": 0.0, "train_batch_size": "auto"}
    made = config(config={"zero_optimization": {"stage": 2}, "bf16": {"enabled": "auto"}, **own})
    assert made["gradient_accumulation_steps"] == made["train_micro_batch_size_per_gpu"] == 1
    assert "bf16" not in made


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"stage": 3}, "has `zero_optimization: stage: 2`"),
        ({"reduce_bucket_size": 10}, "doesn't have `zero_optimization: reduce_bucket_size`"),
        ({"offload_optimizer": True}, "doesn't have `zero_optimization: offload_optimizer: device`"),
        ({"loss_scale": 128}, "doesn't have `fp16: loss_scale`"),
    ],
)
def test_arguments_that_the_config_does_not_follow_are_refused(arguments: dict[str, Any], key: str) -> None:
    name, value = next(iter(arguments.items()))
    with pytest.raises(MisconfigurationException) as raised:
        DeepSpeedStrategy(config={"zero_optimization": {"stage": 2}}, **arguments)
    assert f"`DeepSpeedStrategy({name}={value!r})` was given, but `config` {key}" in str(raised.value)


def test_arguments_that_the_config_repeats_are_taken() -> None:
    assert config(config={"zero_optimization": {"stage": 3}}, stage=3)["zero_optimization"]["stage"] == 3


def test_precision_of_config_and_run_must_agree() -> None:
    with pytest.raises(MisconfigurationException, match=r"`config` has `bf16: {enabled: true}`.*precision='32-true'"):
        config(config={"zero_optimization": {"stage": 2}, "bf16": {"enabled": True}})
    with pytest.raises(MisconfigurationException, match=r"has `bf16: {enabled: false}`.*precision='bf16-mixed'"):
        config(Named("bf16-mixed"), config={"zero_optimization": {"stage": 2}, "bf16": {"enabled": False}})


def test_config_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=r"`config` names the DeepSpeed config .*gone.json', which isn't"):
        DeepSpeedStrategy(config=tmp_path / "gone.json")
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    monkeypatch.setenv(CONFIG_VARIABLE, str(broken))
    with pytest.raises(MisconfigurationException, match=rf"{CONFIG_VARIABLE} names '.*broken.json', which isn't JSON"):
        DeepSpeedStrategy()
    broken.write_text("[]")
    with pytest.raises(MisconfigurationException, match="holds list instead of an object"):
        DeepSpeedStrategy()
