import math
from argparse import Namespace
from collections import Counter, OrderedDict, namedtuple
from enum import Enum, Flag, IntEnum
from io import BytesIO
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from lt_interfaces import plain_values
from lt_interfaces.hyperparameters import AttributeDict
from lt_interfaces.plain_values import OBJECTS, ROW_KEY, from_plain, to_plain, to_stored
from lt_interfaces.rank_zero import WarningCache


class Color(Enum):
    RED = 1
    TENSOR = torch.Tensor  # a value that no file can hold


class Level(IntEnum):
    LOW = 1


class Access(Flag):
    READ = 1
    WRITE = 2


class Size(NamedTuple):
    width: int
    root: Path


Untyped = namedtuple("Untyped", ["a", "b"])


def through_a_file(value: Any) -> Any:
    """Write the plain form, and read it back as `torch.load` does when it allows no other objects."""
    file = BytesIO()
    torch.save(to_plain(value, "hyper_parameters"), file)
    file.seek(0)
    return from_plain(torch.load(file, weights_only=True))


def same(one: Any, other: Any) -> bool:
    """Compare values and types, however nested; NaN equals NaN."""
    if isinstance(one, Namespace):
        one, other = vars(one), vars(other)
    return type(one) is type(other) and same_content(one, other)


def same_content(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return (
            one.dtype == other.dtype and one.shape == other.shape and bool(np.array_equal(one, other, equal_nan=True))
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return all(map(same, one.items(), other.items())) and len(one) == len(other)
    if isinstance(one, np.generic) and one.dtype.kind in "fc":
        return bool(one == other or np.isnan(one))
    if isinstance(one, float | complex):
        return one == other or (one != one and other != other)
    return bool(one == other)


SIMPLE = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.binary(max_size=8))
KEYS = st.one_of(
    st.text(max_size=8), st.integers(), st.just(ROW_KEY), st.sampled_from([*Color, *Access]), st.just(Path("a"))
)
CONVERTED = st.one_of(
    st.text(alphabet="abc./", min_size=1, max_size=8)
    .flatmap(lambda text: st.sampled_from([Path(text), PurePosixPath(text), PureWindowsPath(text)]))
    # of a network path without a share, such as PureWindowsPath("//a/"), Python itself reads what it writes otherwise
    .filter(lambda path: type(path)(path.as_posix()) == path),
    st.sampled_from([*Color, *Level, *Access, Access.READ | Access.WRITE, Access(0)]),
    st.timedeltas(),
    npst.arrays(
        dtype=st.one_of(
            npst.boolean_dtypes(),
            npst.integer_dtypes(endianness="?"),
            npst.unsigned_integer_dtypes(endianness="?"),
            npst.floating_dtypes(sizes=(16, 32, 64), endianness="?"),
            npst.complex_number_dtypes(sizes=(64, 128), endianness="?"),
        ),
        shape=npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
    ),
    st.sampled_from([np.float32(0.1), np.float64(math.pi), np.int64(-3), np.uint8(7), np.bool_(True), np.str_("name")]),
    st.sampled_from([torch.float16, torch.device("cpu"), torch.Size([2, 3])]),
    st.builds(Size, st.integers(), st.just(Path("x"))),
    st.builds(Untyped, SIMPLE, SIMPLE),
    st.frozensets(st.one_of(st.integers(), st.sampled_from(Color))),
    st.sets(st.one_of(st.integers(), st.sampled_from(Color))),
)
VALUES = st.recursive(
    st.one_of(SIMPLE, CONVERTED),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(KEYS, inner, max_size=3),
        st.dictionaries(KEYS, inner, max_size=3).map(OrderedDict),
        st.dictionaries(KEYS, st.integers(), max_size=3).map(Counter),
        st.dictionaries(st.text(max_size=4), inner, max_size=3).map(AttributeDict),
        st.dictionaries(st.text(alphabet="abc", min_size=1), inner, max_size=3).map(lambda items: Namespace(**items)),
    ),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(VALUES)
def test_every_accepted_value_survives_a_file_that_loads_without_pickle(value: Any) -> None:
    assert same(value, through_a_file(value))


def test_values_that_torch_loads_stay_readable_by_any_tool() -> None:
    hparams = {"lr": 0.1, "layers": [8, 8], "name": "net", "pair": (1, None), "tags": {"a"}}
    assert to_plain(hparams, "hyper_parameters") == hparams


def test_a_module_keeps_the_versions_of_its_parts() -> None:
    state = torch.nn.BatchNorm1d(2).state_dict()
    assert through_a_file(state)._metadata == state._metadata == {"": {"version": 2}}


def test_states_of_optimizers_and_schedulers_made_with_numpy_survive() -> None:
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))], lr=np.logspace(-3, -1, 3)[1])
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=list(np.arange(1, 4)))
    for state in (optimizer.state_dict(), scheduler.state_dict()):
        assert same(state, through_a_file(state))


def test_tensors_of_a_class_of_their_own_stay_where_torch_would_load_them() -> None:
    class Quantized(torch.Tensor):
        pass

    value = torch.ones(2).as_subclass(Quantized)
    with pytest.raises(TypeError, match="which a checkpoint can't hold"):
        to_plain({"weight": value}, "state")
    with torch.serialization.safe_globals([Quantized]):
        assert to_plain({"weight": value}, "state")["weight"] is value


def test_a_tensor_is_kept_not_copied() -> None:
    weight = torch.ones(2)
    assert to_plain({"weight": weight}, "state")["weight"] is weight


@pytest.mark.parametrize(
    "value",
    [
        lambda: None,
        torch.nn.Linear(1, 1),
        object(),
        np.datetime64("2020-01-01"),
        np.array(["text"]),
        np.array([None]),
        type("MyString", (str,), {})("text"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_anything_else_is_refused_with_its_place_and_the_way_out(value: Any) -> None:
    with pytest.raises(TypeError) as error:
        to_plain({"net": {"layers": [1, value]}}, "hyper_parameters")
    assert "`hyper_parameters['net']['layers'][1]`" in str(error.value)
    assert "save_hyperparameters(ignore=['net'])" in str(error.value)


def test_a_class_that_is_gone_leaves_its_plain_value_and_a_warning() -> None:
    class Local(Enum):
        A = "a"

    with pytest.warns(UserWarning, match="isn't known here: its value 'a' is used"):
        assert through_a_file(Local.A) == "a"

    class Pair(NamedTuple):
        left: int
        right: int

    with pytest.warns(UserWarning, match="a tuple is used instead"):
        assert through_a_file(Pair(1, 2)) == (1, 2)


def test_a_file_cannot_have_a_module_imported_or_a_function_called() -> None:
    crafted: dict[str, Any] = {
        ROW_KEY: "enum",
        "class": "antigravity:webbrowser.open",
        "name": "x",
        "value": "harmless",
    }
    with pytest.warns(UserWarning, match="isn't known here"):
        assert from_plain(crafted) == "harmless"
    crafted = {ROW_KEY: "namedtuple", "class": "os:system", "fields": ["command"], "values": ["exit 1"]}
    with pytest.warns(UserWarning, match="isn't known here"):
        assert from_plain(crafted) == ("exit 1",)


@pytest.mark.parametrize("kind", [dict, OrderedDict])
def test_a_users_dict_that_looks_like_a_row_is_not_taken_for_one(kind: type) -> None:
    theirs = kind({ROW_KEY: "path", "kind": "Path", "value": "/"})
    assert same(theirs, through_a_file(theirs))


def test_dicts_of_other_tools_come_back_as_they_are() -> None:
    theirs = {"class_path": "Net", "init_args": {"width": 8}, ROW_KEY: "no such row"}
    assert from_plain(theirs) == theirs


# --- checkpoints that hold any object ---


class Anything:
    """What no row holds."""


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OBJECTS, "keep")
    monkeypatch.setattr(plain_values, "_said", WarningCache())


def test_what_is_stored_is_plain_unless_objects_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    assert to_stored({"root": Path("data")}, "hyper_parameters") == to_plain({"root": Path("data")}, "hyper_parameters")
    for said in ("", "refuse"):
        monkeypatch.setenv(OBJECTS, said)
        with pytest.raises(TypeError, match="which a checkpoint can't hold"):
            to_stored({"thing": Anything()}, "hyper_parameters")


@pytest.mark.usefixtures("kept")
def test_kept_objects_are_stored_as_they_are_and_the_first_one_is_warned_of() -> None:
    thing, nested = Anything(), AttributeDict(lr=0.1)
    hparams = {"thing": thing, "root": Path("data"), "cls": Anything, "nested": [nested, np.float32(2)]}
    with pytest.warns(UserWarning, match=rf"`hyper_parameters\['thing'\]` .*Anything.*{OBJECTS}=keep") as warned:
        stored = to_stored(hparams, "hyper_parameters")
    assert len(warned) == 1
    assert to_stored([thing], "callbacks") == [thing]  # an error if it warned again
    assert stored == hparams
    assert stored["thing"] is thing
    assert stored["nested"][0] is nested
    assert from_plain(stored) == hparams


@pytest.mark.usefixtures("kept")
def test_containers_of_kept_objects_are_copied_so_that_a_file_written_later_is_of_now() -> None:
    state = OrderedDict(steps=[1, 2], by_name={"a": [Path("a")]})
    stored = to_stored(state, "callbacks")
    state["steps"].append(3)
    state["by_name"]["a"].clear()
    assert stored == OrderedDict(steps=[1, 2], by_name={"a": [Path("a")]})
    assert type(stored) is OrderedDict


def test_another_word_about_objects_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OBJECTS, "yes")
    with pytest.raises(ValueError, match=f"{OBJECTS} is 'yes'; accepted: `keep`, `refuse`"):
        to_stored(1, "hyper_parameters")
