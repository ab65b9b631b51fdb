from inspect import isfunction

import pytest

from lt_interfaces.trainer_view import RunControl, TrainerView, TrialControl


@pytest.mark.parametrize("contract", [TrainerView, RunControl, TrialControl])
def test_each_member_says_what_it_is(contract: type) -> None:
    members = {name: value for name, value in vars(contract).items() if name[0] != "_"}
    assert [name for name, value in members.items() if not value.__doc__] == []


def test_reading_sets_nothing() -> None:
    properties = [value for value in vars(TrainerView).values() if isinstance(value, property)]
    assert len(properties) > 20
    assert all(one.fset is None and one.fdel is None for one in properties)


def test_what_is_read_and_what_is_asked_for_do_not_overlap() -> None:
    views = [{name for name in vars(one) if name[0] != "_"} for one in (TrainerView, RunControl, TrialControl)]
    assert sum(map(len, views)) == len(set.union(*views))


def test_requests_are_methods() -> None:
    for contract in (RunControl, TrialControl):
        assert all(isfunction(value) for name, value in vars(contract).items() if name[0] != "_")


def test_what_is_collective_says_so() -> None:
    assert all("Collective" in (vars(TrainerView)[name].__doc__ or "") for name in ("agree", "broadcast", "reduced"))
