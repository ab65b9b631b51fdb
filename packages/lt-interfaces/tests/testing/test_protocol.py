"""The suites of structural contracts find what is missing."""

from typing import Any

import pytest

from lt_interfaces.roles import Role
from lt_interfaces.testing import RoleContract


class Bar:
    role = Role.PROGRESS

    def print(self, *args: Any, **kwargs: Any) -> None: ...

    def get_metrics(self, trainer: Any, pl_module: Any) -> dict[str, Any]:
        return {}


class TestBar(RoleContract):
    @pytest.fixture
    def part(self) -> Bar:
        return Bar()


class SilentBar:
    role = Role.PROGRESS

    def get_metrics(self) -> dict[str, Any]:
        return {}


def test_a_member_that_is_missing_is_found() -> None:
    with pytest.raises(AttributeError, match="print"):
        RoleContract().test_everything_the_contract_names_can_be_read(SilentBar())


def test_an_argument_that_is_not_taken_is_found() -> None:
    class Deaf(SilentBar):
        def print(self, *args: Any, **kwargs: Any) -> None: ...

    with pytest.raises(AssertionError, match=r"Deaf.get_metrics doesn't take \['trainer', 'pl_module'\]"):
        RoleContract().test_methods_take_what_the_contract_says(Deaf())
