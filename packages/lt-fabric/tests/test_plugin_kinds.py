import pytest

from lt_fabric.full_precision import FullPrecision
from lt_fabric.local_checkpoint import LocalCheckpointIO
from lt_fabric.local_environment import LocalEnvironment
from lt_fabric.plugin_kinds import kind_of, require_plugins, sort_plugins
from lt_interfaces import CheckpointIO, MisconfigurationException


def imitation() -> object:
    """Return a checkpoint IO that derives from nothing."""
    methods = dict.fromkeys(CheckpointIO.__abstractmethods__)  # type: ignore[attr-defined]  # set by ABCMeta
    return type("Imitation", (), methods)()


def test_plugins_are_recognised_by_their_methods() -> None:
    found = [kind_of(one) for one in (FullPrecision(), imitation(), LocalEnvironment(), object(), FullPrecision)]
    assert found == ["precision", "checkpoint_io", "environment", None, None]


def test_order_does_not_matter() -> None:
    environment, checkpoint_io = LocalEnvironment(), LocalCheckpointIO()
    assert sort_plugins([checkpoint_io, environment]) == {"environment": environment, "checkpoint_io": checkpoint_io}


def test_one_plugin_needs_no_list() -> None:
    precision = FullPrecision()
    assert sort_plugins(precision) == {"precision": precision}
    assert sort_plugins(None) == {}


def test_looking_at_an_environment_opens_no_port() -> None:
    environment = LocalEnvironment()
    kind_of(environment)
    assert environment._reservation is None


def test_two_of_a_kind_are_refused() -> None:
    with pytest.raises(MisconfigurationException, match="two for precision"):
        sort_plugins([FullPrecision(), FullPrecision()])


@pytest.mark.parametrize("plugin", [object(), FullPrecision, "32-true"])
def test_anything_else_is_refused(plugin: object) -> None:
    with pytest.raises(MisconfigurationException, match="recognised by their methods"):
        sort_plugins([plugin])
    with pytest.raises(TypeError, match="`plugins` takes"):
        require_plugins([plugin])
