from dataclasses import FrozenInstanceError

import pytest
from contract_checks import assert_can_be_written_from_the_docstring, assert_demands_each_method

from lt_interfaces.checkpoint_io import CheckpointIO, CheckpointTraits


def test_nothing_of_the_contract_can_be_left_out() -> None:
    assert_demands_each_method(CheckpointIO, but_not=("load_placed",))


def test_the_contract_says_what_each_method_is_for() -> None:
    assert_can_be_written_from_the_docstring(CheckpointIO)


def test_a_checkpoint_is_one_local_file_that_is_there_when_saving_returns_unless_said_otherwise() -> None:
    assert CheckpointTraits() == CheckpointTraits(remote=False, sharded=False, asynchronous=False)


def test_traits_stay_as_they_were_made() -> None:
    with pytest.raises(FrozenInstanceError):
        CheckpointTraits().remote = True  # type: ignore[misc]  # the mistake under test
