from typing import Any

import pytest
from toy_parts import ToyCallback

from lt_interfaces.callback import Callback
from lt_interfaces.hooks import BY_NAME
from lt_interfaces.roles import Role
from lt_interfaces.testing import CallbackContract


class TestToyCallback(CallbackContract):
    @pytest.fixture
    def callback(self) -> ToyCallback:
        return ToyCallback()


class Narrow(Callback):
    def on_train_batch_end(self, trainer: Any, pl_module: Any) -> None:  # type: ignore[override]
        """Too few arguments."""


class Wide(Callback):
    def on_train_batch_end(self, *args: Any) -> None:
        """Any arguments."""


class Roleless(Callback):
    role = Role.TIMER


class Pickled(Callback):
    def state_dict(self) -> dict[str, Any]:
        return {"what": object()}


HOOK = BY_NAME["on_train_batch_end"]


def test_a_hook_with_too_few_arguments_is_found_out() -> None:
    with pytest.raises(AssertionError, match="on_train_batch_end takes trainer, pl_module"):
        CallbackContract().test_hears_every_hook_with_its_arguments(Narrow(), HOOK)


def test_a_hook_that_takes_anything_passes() -> None:
    CallbackContract().test_hears_every_hook_with_its_arguments(Wide(), HOOK)


def test_a_role_without_its_members_is_found_out() -> None:
    with pytest.raises(AssertionError, match="time_elapsed"):
        CallbackContract().test_has_what_its_role_needs(Roleless())


def test_a_state_that_needs_pickle_is_found_out() -> None:
    with pytest.raises(Exception, match="weights_only"):
        CallbackContract().test_its_state_loads_without_unpickling_objects(Pickled())
