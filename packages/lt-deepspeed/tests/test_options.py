"""Arguments that make no sense are refused when they're given."""

from typing import Any

import pytest

from lt_deepspeed import DeepSpeedStrategy
from lt_interfaces import MisconfigurationException


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"stage": 0}, ["stage=0", "strategy='ddp'"]),
        ({"stage": 4}, ["stage=4", "1, 2 or 3"]),
        ({"zero_optimization": False}, ["zero_optimization=False", "strategy='ddp'"]),
        ({"stage": 2, "offload_parameters": True}, ["offload_parameters=True", "stage=3", "stage=2"]),
        (
            {"stage": 2, "offload_optimizer": True, "offload_optimizer_device": "nvme"},
            ["offload_optimizer_device='nvme'", "stage=3"],
        ),
        ({"offload_optimizer_device": "disk"}, ["offload_optimizer_device='disk'", "'cpu' or 'nvme'"]),
        ({"remote_device": "disk"}, ["remote_device='disk'"]),
        ({"cpu_checkpointing": True}, ["cpu_checkpointing=True", "partition_activations=True"]),
        ({"precision_plugin": object()}, ["precision_plugin", "`precision` or `plugins`"]),
        ({"state_dict_type": "whole"}, ["state_dict_type='whole'", "'full' or 'sharded'"]),
    ],
)
def test_bad_arguments_are_named_with_the_way_out(arguments: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011  # what it says is what's looked at
        DeepSpeedStrategy(**arguments)
    assert all(part in str(raised.value) for part in named)


def test_an_argument_that_is_not_there_is_refused_with_the_nearest() -> None:
    with pytest.raises(TypeError, match=r"doesn't take `offload_optimiser`. Did you mean `offload_optimizer`"):
        DeepSpeedStrategy(offload_optimiser=True)


def test_parts_of_a_run_are_refused() -> None:
    with pytest.raises(MisconfigurationException, match=r"accelerator=...\)` isn't taken: give it to the Trainer"):
        DeepSpeedStrategy(accelerator="cpu")
