"""What a script leaves behind in its folder, and how two such folders differ."""

import csv
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml

TOLERANCE = 1e-6
"""Relative and absolute: the same arithmetic on the same machine, perhaps in another order."""
_COMPARED = ("epoch", "global_step", "state_dict", "hyper_parameters", "lr_schedulers", "optimizer_states")
"""What training goes on from, in a checkpoint; of everything else there the name is compared."""
_EVENTS = re.compile(r"(events\.out\.tfevents)\..*")


def observations(folder: Path) -> dict[str, Any]:
    """Return everything in the folder that two sides are compared by, as nested plain data."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    seen: dict[str, Any] = {"observed": json.loads((folder / "observed.json").read_text())}
    seen["files"] = _counted([_name(path, folder) for path in files])
    for path in files:
        read = _READERS.get(path.suffix)
        if read is not None and path.name != "observed.json":
            seen[_name(path, folder)] = read(path)
    return seen


class Difference(NamedTuple):
    """A place where two observations differ, names and indices joined by ``/``, with what's there on either side."""

    place: str
    theirs: Any
    ours: Any


def differences(theirs: Any, ours: Any, place: str = "") -> Iterator[Difference]:
    """Yield each place where two observations differ."""
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        for key in sorted({*theirs, *ours}, key=str):
            there = f"{place}/{key}" if place else str(key)
            yield from differences(theirs.get(key, "absent"), ours.get(key, "absent"), there)
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for index, (their, our) in enumerate(zip(theirs, ours, strict=True)):
            yield from differences(their, our, f"{place}/{index}")
    elif not _equal(theirs, ours):
        yield Difference(place, theirs, ours)


def _equal(theirs: Any, ours: Any) -> bool:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (theirs, ours))
    if not numbers:
        return bool(theirs == ours)
    both_nan = math.isnan(theirs) and math.isnan(ours)
    return both_nan or math.isclose(theirs, ours, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def _name(path: Path, folder: Path) -> str:
    """The file's place below the folder, without the time, host and process that events carry in theirs."""
    return _EVENTS.sub(r"\1", path.relative_to(folder).as_posix())


def _counted(names: list[str]) -> dict[str, int]:
    return {name: names.count(name) for name in names}


def _table(path: Path) -> list[dict[str, Any]]:
    with path.open() as file:
        return [{key: _number(text) for key, text in row.items()} for row in csv.DictReader(file)]


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _yaml(path: Path) -> Any:
    return _plain(yaml.unsafe_load(path.read_text()))


def _checkpoint(path: Path) -> dict[str, Any]:
    file = torch.load(path, weights_only=False)
    seen = {key: _plain(file[key]) for key in _COMPARED if key in file}
    return {**seen, "keys": sorted(set(file) - {"lt"})}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, torch.Tensor):
        return value.tolist()
    return value if isinstance(value, int | float | str | bool | None) else str(value)


_READERS = {".csv": _table, ".yaml": _yaml, ".ckpt": _checkpoint}
