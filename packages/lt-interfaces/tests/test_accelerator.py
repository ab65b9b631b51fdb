from contract_checks import assert_can_be_written_from_the_docstring, assert_demands_each_method

from lt_interfaces.accelerator import Accelerator


def test_nothing_of_the_contract_can_be_left_out() -> None:
    assert_demands_each_method(Accelerator)


def test_the_contract_says_what_each_method_is_for() -> None:
    assert_can_be_written_from_the_docstring(Accelerator)


def test_devices_of_a_new_kind_are_tried_last_unless_they_say_otherwise() -> None:
    assert Accelerator.auto_priority == 0
