"""The registered names, which need no DeepSpeed to be found."""

import subprocess
import sys
from typing import Any

import pytest

from lt_deepspeed import DeepSpeedCheckpointIO, DeepSpeedStrategy
from lt_interfaces import plugins

NAMES: dict[str, dict[str, Any]] = {
    "deepspeed": {"stage": 2},
    "deepspeed_stage_1": {"stage": 1},
    "deepspeed_stage_1_offload": {"stage": 1, "offload_optimizer": True},
    "deepspeed_stage_2": {"stage": 2},
    "deepspeed_stage_2_offload": {"stage": 2, "offload_optimizer": True},
    "deepspeed_stage_3": {"stage": 3},
    "deepspeed_stage_3_offload": {"stage": 3, "offload_optimizer": True, "offload_parameters": True},
    "deepspeed_stage_3_offload_nvme": {
        "stage": 3,
        "offload_optimizer": True,
        "offload_parameters": True,
        "remote_device": "nvme",
        "offload_params_device": "nvme",
        "offload_optimizer_device": "nvme",
    },
}


@pytest.mark.parametrize(("name", "wanted"), NAMES.items())
def test_a_name_sets_what_it_says(name: str, wanted: dict[str, Any]) -> None:
    strategy = plugins.resolve("strategies", name)()
    assert isinstance(strategy, DeepSpeedStrategy)
    assert {key: getattr(strategy._source.options, key) for key in wanted} == wanted


def test_arguments_go_on_to_the_strategy() -> None:
    strategy = plugins.resolve("strategies", "deepspeed_stage_3")(offload_parameters=True)
    assert strategy._source.options.offload_parameters


def test_checkpoint_io_is_found_by_name() -> None:
    assert plugins.resolve("checkpoint_ios", "deepspeed") is DeepSpeedCheckpointIO


def test_package_imports_without_deepspeed() -> None:
    program = "import sys; sys.modules['deepspeed'] = None; import lt_deepspeed as d; d.DeepSpeedStrategy(stage=3)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=100)
