"""The registered names of the DDP family."""

from typing import Any

import pytest

from lt_interfaces import plugins
from lt_strategies.ddp import DDPStrategy

STARTS = {"ddp": "popen", "ddp_spawn": "spawn", "ddp_fork": "fork", "ddp_notebook": "fork"}


def start_method(strategy: Any) -> str:
    method: str = strategy._job._start_method
    return method


def finds_unused(strategy: Any) -> bool | None:
    found: bool | None = strategy._wrapping._arguments.get("find_unused_parameters")
    return found


@pytest.mark.parametrize(("name", "method"), STARTS.items())
def test_a_name_decides_how_processes_start(name: str, method: str) -> None:
    strategy = plugins.resolve("strategies", name)()
    assert isinstance(strategy, DDPStrategy)
    assert (start_method(strategy), finds_unused(strategy)) == (method, None)


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize(("name", "method"), STARTS.items())
def test_a_name_decides_whether_unused_parameters_are_found(name: str, method: str, wanted: bool) -> None:
    strategy = plugins.resolve("strategies", f"{name}_find_unused_parameters_{str(wanted).lower()}")()
    assert isinstance(strategy, DDPStrategy)
    assert (start_method(strategy), finds_unused(strategy)) == (method, wanted)


def test_every_call_makes_a_strategy_of_its_own() -> None:
    make = plugins.resolve("strategies", "ddp_spawn")
    assert make() is not make()


def test_arguments_go_on_to_the_strategy() -> None:
    assert start_method(plugins.resolve("strategies", "ddp_spawn")(start_method="forkserver")) == "forkserver"
