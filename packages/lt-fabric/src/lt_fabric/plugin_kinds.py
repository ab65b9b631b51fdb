"""Recognising by their methods what users give as ``plugins``."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from lt_fabric.argument_checks import fulfils
from lt_interfaces import CheckpointIO, ClusterEnvironment, MisconfigurationException, Precision

_CONTRACTS: Final[Mapping[str, type]] = {
    "precision": Precision,
    "checkpoint_io": CheckpointIO,
    "environment": ClusterEnvironment,
}


def kind_of(plugin: Any) -> str | None:
    """Say whether an object is a ``"precision"``, a ``"checkpoint_io"`` or an ``"environment"``; ``None``: neither."""
    return next((kind for kind, contract in _CONTRACTS.items() if fulfils(plugin, contract)), None)


def sort_plugins(plugins: Any) -> dict[str, Any]:
    """Return the plugins by kind.

    Args:
        plugins: the argument ``plugins``: one, several, or ``None``.

    Raises:
        MisconfigurationException: for something that is none of the three, or two of one kind.
    """
    listed: Sequence[Any] = [] if plugins is None else plugins if isinstance(plugins, list | tuple) else [plugins]
    found: dict[str, Any] = {}
    for plugin in listed:
        kind = kind_of(plugin)
        if kind is None:
            message = (
                f"`plugins` takes instances of Precision, CheckpointIO and ClusterEnvironment, not {plugin!r}; "
                "these are recognised by their methods."
            )
            raise MisconfigurationException(message)
        if kind in found:
            message = f"`plugins` holds two for {kind}: {found[kind]!r} and {plugin!r}. Keep one."
            raise MisconfigurationException(message)
        found[kind] = plugin
    return found
