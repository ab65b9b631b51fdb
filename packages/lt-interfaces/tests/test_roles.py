from types import SimpleNamespace

import pytest

from lt_interfaces import roles
from lt_interfaces.callback import Callback
from lt_interfaces.roles import CheckpointRole, Role
from lt_interfaces.testing.callback import _ROLE_MEMBERS


class ReadOnly(Callback):
    """Shows its paths, but doesn't let them be assigned."""

    role = Role.CHECKPOINT
    best_model_path = property(lambda self: "best.ckpt")
    last_model_path = property(lambda self: "last.ckpt")
    dirpath = property(lambda self: "checkpoints")


def test_paths_may_be_properties_or_attributes() -> None:
    by_properties: CheckpointRole = ReadOnly()
    by_attributes: CheckpointRole = SimpleNamespace(best_model_path="best.ckpt", last_model_path="", dirpath=None)
    assert by_properties.best_model_path == by_attributes.best_model_path


def test_most_callbacks_have_no_role() -> None:
    assert Callback.role is None


@pytest.mark.parametrize("role", list(Role))
def test_each_role_says_what_it_needs(role: Role) -> None:
    contract = vars(roles)[f"{role.name.title()}Role"]
    offered = {*vars(contract), *contract.__annotations__}
    assert set(_ROLE_MEMBERS[role]) <= offered
    assert contract.__doc__
