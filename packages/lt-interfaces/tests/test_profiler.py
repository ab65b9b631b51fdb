from contract_checks import assert_can_be_written_from_the_docstring, assert_demands_each_method

from lt_interfaces.profiler import Profiler


def test_nothing_of_the_contract_can_be_left_out() -> None:
    assert_demands_each_method(Profiler)


def test_the_contract_says_what_each_method_is_for() -> None:
    assert_can_be_written_from_the_docstring(Profiler)
