import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_fabric.argument_checks import (
    check_bool,
    check_choice,
    check_fraction_or_count,
    check_int,
    check_number,
    fulfils,
    refusal,
)
from lt_fabric.cpu import CPUAccelerator
from lt_interfaces.accelerator import Accelerator
from lt_interfaces.errors import MisconfigurationException

at_least_one = partial(check_int, minimum=1)
at_least_zero = partial(check_number, minimum=0)
norm_or_value = partial(check_choice, choices=["norm", "value"])


@pytest.mark.parametrize(
    ("check", "value", "error"),
    [
        (check_bool, 1, TypeError),
        (check_bool, None, TypeError),
        (check_bool, "True", TypeError),
        (at_least_one, 0, MisconfigurationException),
        (at_least_one, -5, MisconfigurationException),
        (at_least_one, True, TypeError),
        (at_least_one, 2.0, TypeError),
        (at_least_one, math.nan, TypeError),
        (at_least_one, "2", TypeError),
        (at_least_zero, -0.5, MisconfigurationException),
        (at_least_zero, math.nan, MisconfigurationException),
        (at_least_zero, math.inf, MisconfigurationException),
        (at_least_zero, False, TypeError),
        (at_least_zero, "1", TypeError),
        (check_fraction_or_count, -1, MisconfigurationException),
        (check_fraction_or_count, 1.5, MisconfigurationException),
        (check_fraction_or_count, math.nan, MisconfigurationException),
        (check_fraction_or_count, math.inf, MisconfigurationException),
        (check_fraction_or_count, True, TypeError),
        (norm_or_value, "nrm", MisconfigurationException),
        (norm_or_value, 3, MisconfigurationException),
    ],
)
def test_a_refusal_names_the_argument_the_value_and_what_is_accepted(
    check: Callable[..., Any], value: object, error: type[Exception]
) -> None:
    with pytest.raises(error, match=rf"^`speed` must be .+, but got {re.escape(repr(value))}") as caught:
        check("speed", value)
    assert type(caught.value) is error


@pytest.mark.parametrize("number", [np.int64(3), np.int8(3), 3])
def test_numpy_integers_become_python_integers(number: object) -> None:
    assert type(check_int("speed", number, minimum=1)) is int
    assert type(check_number("speed", number, minimum=1)) is int
    assert type(check_fraction_or_count("speed", number)) is int


def test_numpy_floats_become_python_floats() -> None:
    assert type(check_number("speed", np.float32(0.5), minimum=0)) is float
    assert type(check_fraction_or_count("speed", np.float64(0.5))) is float


def test_a_whole_float_is_told_how_to_be_an_integer() -> None:
    with pytest.raises(TypeError, match=r"Write 10000\."):
        check_int("max_steps", 1e4, minimum=-1)


@given(st.floats(0, 1))
def test_floats_up_to_one_stay_fractions(fraction: float) -> None:
    checked = check_fraction_or_count("speed", fraction)
    assert checked == fraction
    assert isinstance(checked, float)


@given(st.integers(2, 2**40))
def test_larger_whole_floats_become_counts(count: int) -> None:
    checked = check_fraction_or_count("speed", float(count))
    assert checked == count
    assert isinstance(checked, int)


def test_a_misspelt_choice_is_told_what_it_may_have_meant() -> None:
    with pytest.raises(MisconfigurationException, match="Did you mean `value`"):
        norm_or_value("algorithm", "vlaue")


def test_a_class_where_an_instance_is_needed_is_told_so() -> None:
    with pytest.raises(MisconfigurationException, match=r"Pass an instance: `CPUAccelerator\(\.\.\.\)`"):
        norm_or_value("algorithm", CPUAccelerator)


def test_a_contract_is_fulfilled_by_methods_without_inheritance() -> None:
    demanded: frozenset[str] = Accelerator.__abstractmethods__
    stranger = type("Stranger", (), dict.fromkeys(demanded, print))
    lacking = type("Lacking", (), dict.fromkeys(list(demanded)[1:], print))
    assert fulfils(stranger(), Accelerator)
    assert fulfils(CPUAccelerator(), Accelerator)
    assert not fulfils(stranger, Accelerator)
    assert not fulfils(lacking(), Accelerator)


def test_an_endless_value_is_cut_in_the_message() -> None:
    assert len(refusal("speed", "x" * 10_000, accepted="short")) < 300
