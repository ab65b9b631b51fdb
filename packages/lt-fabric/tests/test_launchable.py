from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from fabric_pretence import FunctionLauncher, ScriptLauncher

from lt_fabric.launchable import check_launchable, launching, rest_of_script


@pytest.mark.parametrize(
    "function", [lambda fabric: None, lambda *args: None, partial(lambda a, b: None, 1), rest_of_script]
)
def test_what_takes_fabric_is_launchable(function: Callable[..., Any]) -> None:
    check_launchable(function, ScriptLauncher())


@pytest.mark.parametrize("function", [3, "train", None])
def test_only_functions_are_launched(function: object) -> None:
    with pytest.raises(TypeError, match="`function` must be a function"):
        check_launchable(function, None)


@pytest.mark.parametrize("function", [lambda: None, lambda **kwargs: None, lambda *, fabric: None])
def test_a_function_must_take_fabric(function: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="first argument"):
        check_launchable(function, None)


def test_the_rest_of_the_script_runs_in_no_new_process() -> None:
    with pytest.raises(TypeError, match="FunctionLauncher"):
        check_launchable(rest_of_script, FunctionLauncher())


def test_a_launching_method_keeps_its_name_and_words() -> None:
    class Training:
        is_launched = True

        @launching
        def run(self, value: int) -> int:
            """Train."""
            return value

    assert Training().run(3) == 3
    assert (Training.run.__name__, Training.run.__doc__) == ("run", "Train.")
