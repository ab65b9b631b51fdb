from dataclasses import FrozenInstanceError

import pytest
import torch
from contract_checks import assert_can_be_written_from_the_docstring, assert_demands_each_method

from lt_interfaces.precision import Precision, PrecisionDtypes


def test_nothing_of_the_contract_can_be_left_out() -> None:
    assert_demands_each_method(Precision, but_not=("step_was_skipped",))


def test_the_contract_says_what_each_method_is_for() -> None:
    assert_can_be_written_from_the_docstring(Precision)


def test_formats_are_left_alone_unless_they_are_named() -> None:
    formats = PrecisionDtypes()
    assert (formats.param, formats.compute, formats.reduce, formats.buffer) == (None, None, None, None)


def test_formats_stay_as_they_were_made() -> None:
    with pytest.raises(FrozenInstanceError):
        PrecisionDtypes().param = torch.float16  # type: ignore[misc]  # the mistake under test
