from collections.abc import Callable
from typing import Any

import pytest
from toy_parts import ToyLauncher

from lt_interfaces.testing import LauncherContract


class TestToyLauncher(LauncherContract):
    @pytest.fixture
    def launcher(self) -> ToyLauncher:
        return ToyLauncher()


class Deaf(ToyLauncher):
    def launch(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return None


def test_a_lost_result_is_found_out() -> None:
    with pytest.raises(AssertionError):
        LauncherContract().test_returns_what_rank_zero_returned(Deaf())


def test_a_swallowed_failure_is_found_out() -> None:
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        LauncherContract().test_raises_the_first_failure(Deaf())
