from contract_checks import assert_can_be_written_from_the_docstring, assert_demands_each_method

from lt_interfaces.environment import ClusterEnvironment


def test_nothing_of_the_contract_can_be_left_out() -> None:
    assert_demands_each_method(ClusterEnvironment)


def test_the_contract_says_what_each_method_is_for() -> None:
    assert_can_be_written_from_the_docstring(ClusterEnvironment)


def test_detecting_takes_no_instance() -> None:
    assert isinstance(vars(ClusterEnvironment)["detect"], classmethod)
    assert ClusterEnvironment.detection_priority == 0
