from contract_checks import assert_can_be_written_from_the_docstring, assert_demands_each_method

from lt_interfaces.launcher import Launcher


def test_nothing_of_the_contract_can_be_left_out() -> None:
    assert_demands_each_method(Launcher)


def test_the_contract_says_what_each_method_is_for() -> None:
    assert_can_be_written_from_the_docstring(Launcher)


def test_a_launcher_is_not_for_notebooks_unless_it_says_so() -> None:
    assert not Launcher.is_interactive_compatible
    assert Launcher.returns_results
