import os
from collections.abc import Iterator

import pytest
from toy_parts import ToyEnvironment

from lt_interfaces.testing import EnvironmentContract


class TestToyEnvironment(EnvironmentContract):
    @pytest.fixture
    def environment(self, monkeypatch: pytest.MonkeyPatch) -> ToyEnvironment:
        monkeypatch.setenv("TOY_CLUSTER", "1")
        return ToyEnvironment()


class Untidy(ToyEnvironment):
    def __init__(self) -> None:
        super().__init__()
        self._asked = 0

    @classmethod
    def detect(cls) -> bool:
        os.environ["TOY_UNTIDY"] = "1"
        return True

    @property
    def main_port(self) -> int:
        self._asked += 1
        return 1000 + self._asked


@pytest.fixture(autouse=True)
def _no_leftovers() -> Iterator[None]:
    yield
    os.environ.pop("TOY_UNTIDY", None)


def test_detecting_that_changes_the_process_is_found_out() -> None:
    with pytest.raises(AssertionError):
        EnvironmentContract().test_detecting_has_no_side_effects(Untidy())


def test_a_port_that_changes_is_found_out() -> None:
    with pytest.raises(AssertionError):
        EnvironmentContract().test_the_main_process_has_one_port(Untidy())
