from dataclasses import FrozenInstanceError

import pytest
import torch
from contract_checks import assert_can_be_written_from_the_docstring, assert_demands_each_method
from toy_parts import ToyAccelerator, ToyEnvironment, ToyPrecision

from lt_interfaces.strategy import Assembly, Capability, Strategy


def test_nothing_of_the_contract_can_be_left_out() -> None:
    assert_demands_each_method(
        Strategy, but_not=("placement", "restores_after_setup", "sample_group", "step_was_skipped")
    )


def test_the_contract_says_what_each_method_is_for() -> None:
    assert_can_be_written_from_the_docstring(Strategy)


def test_capabilities_read_as_words_within_a_message() -> None:
    assert all(capability.value == capability.value.lower().replace("_", " ") for capability in Capability)


def test_the_parts_of_a_run_stay_as_they_were_put_together() -> None:
    parts = Assembly(ToyAccelerator(), [torch.device("cpu")], 1, ToyEnvironment(), ToyPrecision())
    with pytest.raises(FrozenInstanceError):
        parts.num_nodes = 2  # type: ignore[misc]  # the mistake under test
