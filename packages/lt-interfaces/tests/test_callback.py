import copy
import pickle
from inspect import signature
from typing import Any

import pytest

from lt_interfaces.callback import Callback
from lt_interfaces.hooks import Hearer, Hook, heard_by


class Counting(Callback):
    """At module level, so that it can be pickled."""

    def __init__(self, step: int = 1) -> None:
        self.step = step
        self.count = 0


class Logging(Callback):
    def __init__(self) -> None:
        self.logged: list[tuple[Any, ...]] = []

    def log(self, name: str, value: Any, *args: Any, **kwargs: Any) -> None:
        self.logged.append((name, value, args, kwargs))


@pytest.mark.parametrize("hook", heard_by(Hearer.CALLBACK), ids=lambda hook: hook.name)
def test_every_hook_of_the_table_is_there_and_does_nothing(hook: Hook) -> None:
    method = getattr(Callback(), hook.name)
    names = [str(parameter).split(":")[0].split(" =")[0] for parameter in signature(method).parameters.values()]
    assert names == ["trainer", "pl_module", *(argument.split("=")[0] for argument in hook.arguments)]
    assert method(*[None] * len(names)) is None


def test_nothing_is_there_that_the_table_does_not_list() -> None:
    offered = {name for name, value in vars(Callback).items() if callable(value) and name[0] != "_"}
    assert offered - {"state_dict", "load_state_dict", "log", "log_dict"} == {
        hook.name for hook in heard_by(Hearer.CALLBACK)
    }


def test_its_state_goes_under_the_name_of_its_class() -> None:
    class Inner(Callback):
        pass

    assert Counting().state_key == "Counting"
    assert Inner().state_key.endswith("<locals>.Inner")


def test_instances_can_be_told_apart_by_what_they_do() -> None:
    assert Counting()._generate_state_key(monitor="loss", mode="min") == "Counting{'monitor': 'loss', 'mode': 'min'}"


def test_there_is_no_state_unless_it_says_so() -> None:
    callback = Callback()
    callback.load_state_dict({"left": "over"})
    assert callback.state_dict() == {}


@pytest.mark.parametrize("method", ["log", "log_dict"])
def test_logging_outside_of_a_run_names_the_callback(method: str) -> None:
    argument: tuple[Any, ...] = ("loss", 1.0) if method == "log" else ({"loss": 1.0},)
    with pytest.raises(RuntimeError, match=r"`Counting\.log` was called outside of a run"):
        getattr(Counting(), method)(*argument)


def test_several_metrics_are_logged_one_by_one_with_the_same_arguments() -> None:
    callback = Logging()
    callback.log_dict({"a": 1, "b": 2}, True, on_epoch=True)
    assert callback.logged == [("a", 1, (True,), {"on_epoch": True}), ("b", 2, (True,), {"on_epoch": True})]


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_keeps_its_own_values_and_belongs_to_no_run(copied: Any) -> None:
    callback = Counting(step=3)
    callback.count = 7
    # What a run binds: methods of a module that can't be pickled.
    callback.log = lambda *args: None  # type: ignore[method-assign]
    callback.log_dict = lambda *args: None  # type: ignore[method-assign]
    other = copied(callback)
    assert (other.step, other.count) == (3, 7)
    assert set(vars(other)) == {"step", "count"}
    with pytest.raises(RuntimeError, match="outside of a run"):
        other.log("loss", 1.0)
