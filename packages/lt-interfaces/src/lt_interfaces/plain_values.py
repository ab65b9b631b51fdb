"""Hyper-parameters and states as plain values, so that a checkpoint loads with ``torch.load(weights_only=True)``.

What torch loads as it is stays as it is: ``None``, ``bool``, ``int``, ``float``, ``complex``, ``str``, ``bytes``,
``bytearray``, tensors, dtypes, devices, sizes, and the containers ``list``, ``tuple``, ``set``, ``dict``,
``OrderedDict`` and ``Counter`` of those. Such a file reads the same with any other tool. Tensors of another class stay
where that class was registered with `torch.serialization.add_safe_globals`. These types are written as a dict
whose key ``"__lt__"`` names the row, and come back as what they were:

=================  ==================================================================================
row                what it holds
=================  ==================================================================================
``path``           `pathlib.Path` and its pure forms, with forward slashes
``enum``           a member of an `enum.Enum`: its class, its name and, where it's plain, its value
``timedelta``      days, seconds, microseconds
``numpy_scalar``   dtype and value; booleans, numbers and strings
``numpy_array``    dtype and a tensor; booleans and numbers
``namedtuple``     its class, its fields and their values
``frozenset``      its elements
``attribute_dict`` a nested `AttributeDict`
``namespace``      an `argparse.Namespace`
=================  ==================================================================================

Three rows are for cases that torch can't load: ``set`` (elements that need a row of their own), ``dict`` (keys that
need one, or a key ``"__lt__"`` of the user's) and ``empty_bytes``. Classes are looked up among the modules that are
imported; nothing is imported or called because a file says so. Where the class is gone, an enum comes back as its value
and a namedtuple as a tuple, with a warning.

Code written for Lightning may rely on checkpoints that hold any object. ``LT_CHECKPOINT_OBJECTS=keep`` in the
environment lets them, in a process and in those that it starts; lt-compat sets it. Then `to_stored`, which checkpoints
are written through, leaves values as they are.
"""

import argparse
import os
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, Flag
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final

import torch
from torch import Tensor, nn

from lt_interfaces.hyperparameters import AttributeDict
from lt_interfaces.rank_zero import WarningCache, rank_zero_warn

ROW_KEY: Final = "__lt__"
"""The key that marks a dict as one row of the table above."""

_ATOMS: Final = frozenset(
    {type(None), bool, int, float, complex, str, bytes, bytearray}
    | {Tensor, nn.Parameter, torch.dtype, torch.device, torch.Size}
)
_HASHABLE_ATOMS: Final = frozenset({type(None), bool, int, float, complex, str, torch.dtype, torch.device})
_PURE_PATHS: Final[Mapping[str, type]] = {
    "Path": Path,
    "PurePosixPath": PurePosixPath,
    "PureWindowsPath": PureWindowsPath,
}
_DICTS: Final = (dict, OrderedDict, Counter)
_DICTS_BY_NAME: Final[Mapping[str, type[dict[Any, Any]]]] = {kind.__name__: kind for kind in _DICTS}
_TENSOR_KINDS: Final = "biufc"
_LARGEST_ITEM: Final = {"f": 8, "c": 16}

OBJECTS: Final = "LT_CHECKPOINT_OBJECTS"
"""The environment variable that says what becomes of values in no row: ``refuse``, the default, or ``keep``."""
_said: Final = WarningCache()

Place = tuple[object, ...]
"""The keys that lead to a value; the first entry is the `where` of the caller."""


def to_stored(value: Any, where: str) -> Any:
    """Turn a value into what a checkpoint holds of it, under keys that Lightning's checkpoints have, too.

    That's what `to_plain` makes of it. With ``LT_CHECKPOINT_OBJECTS=keep`` it's the value itself, whatever it is, and
    no row of the table is used: code of others reads the file as Lightning would have written it. A file with such
    objects loads with ``weights_only=False`` alone, which runs what's pickled in it; the first one is warned of.

    Args:
        where: as in `to_plain`.

    Raises:
        TypeError: as in `to_plain`, unless objects are kept.
        ValueError: ``LT_CHECKPOINT_OBJECTS`` is neither ``keep`` nor ``refuse``.
    """
    if not _keeps_objects():
        return to_plain(value, where)
    try:
        to_plain(value, where)
    except TypeError as error:
        _warn_once(error)
    return _copied(value)


def _keeps_objects() -> bool:
    said = os.environ.get(OBJECTS) or "refuse"
    if said not in ("keep", "refuse"):
        message = f"the environment variable {OBJECTS} is {said!r}; accepted: `keep`, `refuse`"
        raise ValueError(message)
    return said == "keep"


def _warn_once(error: TypeError) -> None:
    if not _said:
        found = str(error).split(", which a checkpoint")[0]
        _said.warn(
            f"{found}. The checkpoint holds it as it is, as {OBJECTS}=keep in the environment says (lt-compat sets "
            "that), and loads with `weights_only=False` alone; lt by itself would refuse it."
        )


def _copied(value: Any) -> Any:
    """Return a value whose containers are copies."""
    if type(value) in (list, tuple):
        return type(value)(_copied(item) for item in value)
    if type(value) in _DICTS:
        return _like(value, {key: _copied(item) for key, item in value.items()})
    return value


def to_plain(value: Any, where: str) -> Any:
    """Turn a value into one that ``torch.load(weights_only=True)`` accepts; `from_plain` turns it back.

    Containers are copied, tensors are not.

    Args:
        where: what the value is, for the error message: ``"hyper_parameters"``, ``"the state of `EarlyStopping`"``.

    Raises:
        TypeError: a value, however nested, that is in no row of the table; the message names its key.

    >>> to_plain({"root": Path("data/digits"), "size": 8}, "hyper_parameters")
    {'root': {'__lt__': 'path', 'kind': 'Path', 'value': 'data/digits'}, 'size': 8}
    """
    return _encode(value, (where,))


def from_plain(value: Any) -> Any:
    """Turn what `to_plain` wrote back; anything else, however nested, comes back equal.

    >>> from_plain({"root": {"__lt__": "path", "kind": "PurePosixPath", "value": "data"}})
    {'root': PurePosixPath('data')}
    """
    kind = type(value)
    if kind in (list, tuple, set):
        return kind(from_plain(item) for item in value)
    if kind not in _DICTS:
        return value
    row = _ROWS_BY_NAME.get(value.get(ROW_KEY)) if isinstance(value.get(ROW_KEY), str) else None
    if row is not None:
        return row.decode(value)
    return _like(value, {from_plain(key): from_plain(item) for key, item in value.items()})


def _encode(value: Any, place: Place) -> Any:
    kind = type(value)
    if kind in _ATOMS and not _is_empty_bytes(value):
        return value
    if kind in (list, tuple):
        return kind(_encode(item, (*place, index)) for index, item in enumerate(value))
    if kind in _DICTS and ROW_KEY not in value and all(map(_is_plain_key, value)):
        return _like(value, {key: _encode(item, (*place, key)) for key, item in value.items()})
    if kind is set and all(map(_is_plain_key, value)):
        return set(value)
    if _is_registered_tensor(value):
        return value
    for row in _ROWS:
        if row.holds(value):
            return {ROW_KEY: row.name, **row.encode(value, place)}
    raise TypeError(_refusal(value, place))


def _like(original: dict[Any, Any], items: dict[Any, Any]) -> dict[Any, Any]:
    """Return the items in the kind of dict that the original is."""
    if type(original) is dict:
        return items
    made = type(original)(items)
    vars(made).update(vars(original))  # torch keeps the versions of modules as an attribute of their state dict
    return made


def _is_registered_tensor(value: object) -> bool:
    return isinstance(value, Tensor) and type(value) in torch.serialization.get_safe_globals()


def _is_empty_bytes(value: object) -> bool:
    # torch (2.13) writes them in a way that it refuses to read.
    return type(value) is bytes and not value


def _is_plain_key(key: object) -> bool:
    return type(key) in _HASHABLE_ATOMS or (type(key) is tuple and all(map(_is_plain_key, key)))


def _refusal(value: object, place: Place) -> str:
    where, *keys = place
    path = "".join(f"[{key!r}]" for key in keys)
    shown = repr(value)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    ignored = repr(keys[0]) if keys else "..."
    return (
        f"`{where}{path}` is {shown} of type `{type(value).__module__}.{type(value).__qualname__}`, which a checkpoint "
        "can't hold. Accepted are numbers, strings, tensors, paths, enums, time spans, NumPy values and containers of "
        f"those. Turn it into such values, or leave it out: a hyper-parameter with "
        f"`save_hyperparameters(ignore=[{ignored}])`, a state where its `state_dict` is made."
    )


# --- the rows ---


@dataclass(frozen=True)
class _Row:
    """How values of one type are written and read."""

    name: str
    holds: Callable[[Any], bool]
    encode: Callable[[Any, Place], dict[str, Any]]
    decode: Callable[[dict[str, Any]], Any]


def _encode_path(value: Path, _: Place) -> dict[str, Any]:
    kind = "Path" if isinstance(value, Path) else type(value).__name__
    return {"kind": kind, "value": value.as_posix()}


def _encode_enum(value: Enum, _: Place) -> dict[str, Any]:
    plain = value.value if type(value.value) in _HASHABLE_ATOMS else None
    return {"class": _class_name(type(value)), "name": value.name, "value": plain}


def _decode_enum(fields: dict[str, Any]) -> Any:
    name, value = fields["name"], fields["value"]
    kind = _imported_class(fields["class"])
    if isinstance(kind, type) and issubclass(kind, Enum):
        if name in kind.__members__:
            return kind[name]
        if issubclass(kind, Flag):  # a combination of flags has a value, but no member of its own
            return kind(value)
    rank_zero_warn(f"The enum member `{fields['class']}.{name}` isn't known here: its value {value!r} is used instead.")
    return value


def _encode_timedelta(value: timedelta, _: Place) -> dict[str, Any]:
    return {"days": value.days, "seconds": value.seconds, "microseconds": value.microseconds}


def _decode_timedelta(fields: dict[str, Any]) -> timedelta:
    return timedelta(fields["days"], fields["seconds"], fields["microseconds"])


def _is_numpy_scalar(value: Any) -> bool:
    numpy = sys.modules.get("numpy")  # no value is NumPy's before NumPy was imported
    return numpy is not None and isinstance(value, numpy.generic) and (_fits_tensor(value) or value.dtype.kind == "U")


def _is_numpy_array(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and type(value) is numpy.ndarray and _fits_tensor(value)


def _fits_tensor(value: Any) -> bool:
    kind = value.dtype.kind
    return kind in _TENSOR_KINDS and value.dtype.itemsize <= _LARGEST_ITEM.get(kind, 8)


def _encode_numpy_scalar(value: Any, _: Place) -> dict[str, Any]:
    return {"dtype": value.dtype.str, "value": value.item()}


def _decode_numpy_scalar(fields: dict[str, Any]) -> Any:
    # Imported here: NumPy is optional to torch, and only values that came from it need it.
    import numpy as np

    return np.dtype(fields["dtype"]).type(fields["value"])


def _encode_numpy_array(value: Any, _: Place) -> dict[str, Any]:
    native = value.astype(value.dtype.newbyteorder("="), order="C", copy=True)
    return {"dtype": value.dtype.str, "value": torch.from_numpy(native)}


def _decode_numpy_array(fields: dict[str, Any]) -> Any:
    return fields["value"].cpu().numpy().astype(fields["dtype"])


def _is_namedtuple(value: object) -> bool:
    return isinstance(value, tuple) and isinstance(getattr(value, "_fields", None), tuple)


def _encode_namedtuple(value: Any, place: Place) -> dict[str, Any]:
    values = [_encode(item, (*place, field)) for field, item in zip(value._fields, value, strict=True)]
    return {"class": _class_name(type(value)), "fields": list(value._fields), "values": values}


def _decode_namedtuple(fields: dict[str, Any]) -> Any:
    values = from_plain(fields["values"])
    kind = _imported_class(fields["class"])
    if isinstance(kind, type) and issubclass(kind, tuple) and list(getattr(kind, "_fields", ())) == fields["fields"]:
        return tuple.__new__(kind, values)
    rank_zero_warn(
        f"The namedtuple `{fields['class']}` with the fields {fields['fields']} isn't known here: "
        "a tuple is used instead."
    )
    return tuple(values)


def _encode_elements(value: Any, place: Place) -> dict[str, Any]:
    return {"values": [_encode(item, place) for item in value]}


def _encode_items(value: Mapping[Any, Any], place: Place) -> dict[str, Any]:
    items = [[_encode(key, place), _encode(item, (*place, key))] for key, item in value.items()]
    return {"kind": type(value).__name__, "items": items}


def _decode_dict(fields: dict[str, Any]) -> dict[Any, Any]:
    return _DICTS_BY_NAME[fields["kind"]](dict(from_plain(fields["items"])))


def _encode_attributes(value: Any, place: Place) -> dict[str, Any]:
    attributes = value if isinstance(value, dict) else vars(value)
    return {"value": _encode(dict(attributes), place)}


def _class_name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _imported_class(name: str) -> object:
    """Return the class if its module is imported already; a file must not decide what is imported."""
    module, _, path = name.partition(":")
    found: object = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    return found


def _is_type(*kinds: type) -> Callable[[object], bool]:
    return lambda value: type(value) in kinds


_ROWS: Final = (
    _Row(
        "path",
        _is_type(type(Path()), PurePosixPath, PureWindowsPath),
        _encode_path,
        lambda fields: _PURE_PATHS[fields["kind"]](fields["value"]),
    ),
    _Row("enum", lambda value: isinstance(value, Enum), _encode_enum, _decode_enum),
    _Row("timedelta", _is_type(timedelta), _encode_timedelta, _decode_timedelta),
    _Row("numpy_scalar", _is_numpy_scalar, _encode_numpy_scalar, _decode_numpy_scalar),
    _Row("numpy_array", _is_numpy_array, _encode_numpy_array, _decode_numpy_array),
    _Row("namedtuple", _is_namedtuple, _encode_namedtuple, _decode_namedtuple),
    _Row("frozenset", _is_type(frozenset), _encode_elements, lambda fields: frozenset(from_plain(fields["values"]))),
    _Row("set", _is_type(set), _encode_elements, lambda fields: set(from_plain(fields["values"]))),
    _Row(
        "attribute_dict",
        _is_type(AttributeDict),
        _encode_attributes,
        lambda fields: AttributeDict(from_plain(fields["value"])),
    ),
    _Row(
        "namespace",
        _is_type(argparse.Namespace),
        _encode_attributes,
        lambda fields: argparse.Namespace(**from_plain(fields["value"])),
    ),
    _Row("empty_bytes", _is_empty_bytes, lambda *_: {}, lambda _: b""),
    _Row("dict", _is_type(*_DICTS), _encode_items, _decode_dict),
)
_ROWS_BY_NAME: Final = {row.name: row for row in _ROWS}
