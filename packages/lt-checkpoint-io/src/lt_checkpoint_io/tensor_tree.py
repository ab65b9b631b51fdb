"""Walks through a checkpoint: nested dicts, lists and tuples with tensors and plain values at the leaves."""

from collections.abc import Callable, Iterator
from copy import copy
from typing import Any

Place = tuple[object, ...]
"""The keys and positions that lead to a value."""


def map_leaves(tree: Any, change: Callable[[Place, Any], Any], place: Place = ()) -> Any:
    """Return the tree with every leaf changed; containers are copied and keep their type, order and attributes.

    Leaves come in the order of the tree. Whatever is no dict, list or plain tuple is one.

    >>> map_leaves({"a": [1, 2], "b": 3}, lambda place, leaf: leaf * 10)
    {'a': [10, 20], 'b': 30}
    """
    if isinstance(tree, dict):
        # copied before it's filled: an OrderedDict keeps its `_metadata`, which torch puts there
        copied = copy(tree)
        copied.update((key, map_leaves(value, change, (*place, key))) for key, value in tree.items())
        return copied
    if isinstance(tree, list):
        return [map_leaves(value, change, (*place, index)) for index, value in enumerate(tree)]
    if type(tree) is tuple:
        return tuple(map_leaves(value, change, (*place, index)) for index, value in enumerate(tree))
    return change(place, tree)


def leaves(tree: Any) -> Iterator[tuple[Place, Any]]:
    """Yield every leaf with its place, in the order of the tree.

    >>> list(leaves({"a": [1, 2]}))
    [(('a', 0), 1), (('a', 1), 2)]
    """
    found: list[tuple[Place, Any]] = []
    map_leaves(tree, lambda place, leaf: found.append((place, leaf)))
    yield from found


def dotted(place: Place) -> str:
    """Return a place as the name that torch.distributed.checkpoint gives it.

    >>> dotted(("optimizer_states", 0, "lr"))
    'optimizer_states.0.lr'
    """
    return ".".join(map(str, place))
