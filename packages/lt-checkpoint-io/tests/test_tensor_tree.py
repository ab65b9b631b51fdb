from collections import OrderedDict, defaultdict
from typing import Any

from lt_checkpoint_io.tensor_tree import dotted, leaves, map_leaves


def test_containers_keep_type_order_and_attributes() -> None:
    state: Any = OrderedDict(b=1, a=2)
    state._metadata = {"": {"version": 1}}
    counts: defaultdict[str, list[int]] = defaultdict(list, x=[3])
    changed = map_leaves({"state": state, "counts": counts, "pair": (4, [5])}, lambda _, leaf: leaf + 1)
    assert changed == {"state": OrderedDict(b=2, a=3), "counts": {"x": [4]}, "pair": (5, [6])}
    assert changed["state"]._metadata == {"": {"version": 1}}
    assert changed["counts"]["new"] == []


def test_the_given_tree_stays_as_it_was() -> None:
    tree = {"a": [1]}
    map_leaves(tree, lambda *_: None)
    assert tree == {"a": [1]}


def test_leaves_come_in_order_with_their_places() -> None:
    tree = {"b": {0: "x"}, "a": ("y", ["z"]), "empty": {}}
    assert [(dotted(place), leaf) for place, leaf in leaves(tree)] == [("b.0", "x"), ("a.0", "y"), ("a.1.0", "z")]
