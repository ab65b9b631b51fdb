from typing import Any, ClassVar

import pytest

from lt_core.specs.callback_roles import refuse_role_conflicts, resolve_callbacks
from lt_interfaces.callback import Callback
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.roles import Role


class Bar(Callback):
    """Stands where a progress bar would."""

    role: ClassVar[Role | None] = Role.PROGRESS


class Saver(Callback):
    """Stands where a checkpoint callback would."""

    role: ClassVar[Role | None] = Role.CHECKPOINT


def test_callbacks_come_as_one_as_several_or_not_at_all() -> None:
    one, two = Callback(), Callback()
    assert resolve_callbacks(None) == ()
    assert resolve_callbacks(one) == (one,)
    assert resolve_callbacks([one, two]) == (one, two)
    assert resolve_callbacks(callback for callback in (one, two)) == (one, two)


@pytest.mark.parametrize("callbacks", ["x", 3, [Callback(), None], {"a": Callback()}, Callback, True])
def test_what_isnt_a_callback_is_refused(callbacks: object) -> None:
    with pytest.raises(TypeError, match="`callbacks` must be a Callback, a list of such, or None, but got"):
        resolve_callbacks(callbacks)


@pytest.mark.parametrize(
    ("callbacks", "switches", "said"),
    [
        ([Bar(), Bar()], {}, r"at most one progress bar, but got \['Bar', 'Bar'\]"),
        ([Bar()], {"enable_progress_bar": False}, r"`enable_progress_bar=False` can't go with \['Bar'\]"),
        ([Saver()], {"enable_checkpointing": False}, r"`enable_checkpointing=False` can't go with \['Saver'\]"),
    ],
)
def test_contradicting_callbacks_are_refused(callbacks: list[Callback], switches: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {"enable_checkpointing": None, "enable_progress_bar": None, **switches}
    with pytest.raises(MisconfigurationException, match=said):
        refuse_role_conflicts(callbacks, **given)


def test_several_savers_and_one_bar_are_fine() -> None:
    refuse_role_conflicts([Saver(), Saver(), Bar()], enable_checkpointing=True, enable_progress_bar=None)
