"""Recognising by their methods what users give as ``plugins``."""

from collections.abc import Mapping
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


def require_plugins(plugins: Any) -> None:
    """Raise TypeError for a plugin that's none of the three kinds."""
    for plugin in listed(plugins):
        if kind_of(plugin) is None:
            message = f"`plugins` takes a Precision, CheckpointIO or ClusterEnvironment, not {plugin!r}."
            raise TypeError(message)


def listed(value: Any) -> list[Any]:
    """Return an argument that may be one, several or ``None`` as a new list.

    >>> listed(None), listed(1), listed((1, 2))
    ([], [1], [1, 2])
    """
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def sort_plugins(plugins: Any) -> dict[str, Any]:
    """Return the plugins by kind.

    Args:
        plugins: the argument ``plugins``: one, several, or ``None``.

    Raises:
        MisconfigurationException: for something that is none of the three, or two of one kind.
    """
    found: dict[str, Any] = {}
    for plugin in listed(plugins):
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
