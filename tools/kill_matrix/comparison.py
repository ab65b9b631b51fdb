"""The first difference between what two runs left behind."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

Line = dict[str, Any]  # a line of a trace: whatever JSON holds


def first_difference(whole: Path, resumed: Path) -> str | None:
    """Compare the folder of an uninterrupted run with that of a killed and resumed one; ``None`` if they're equal."""
    differences = (
        difference
        for compare in (_in_traces, _in_metrics, _in_outcomes, _in_weights)
        for difference in compare(whole, resumed)
    )
    return next(differences, None)


def read_trace(folder: Path) -> list[Line]:
    """Return the lines of a trace, in order."""
    return [json.loads(line) for line in (folder / "trace.jsonl").read_text().splitlines()]


def _in_traces(whole: Path, resumed: Path) -> Iterator[str]:
    """Compare every line that any attempt wrote, repeated ones too, then look for what never happened."""
    expected = {_key(line): line for line in read_trace(whole) if line["kind"] != "start"}
    missing, number, seen = dict(expected), 0, 0
    for line in read_trace(resumed):
        if line["kind"] == "start":
            number, seen = number + 1, line["seen"]
            continue
        place = f"attempt {number}, {_key(line)}"
        if line["kind"] == "batch":
            if line["at"][0] != seen + 1:
                yield f"{place}: follows batch {seen}"
            seen = line["at"][0]
        if _key(line) not in expected:
            yield f"{place}: doesn't happen in an uninterrupted run"
            return
        yield from (f"{place}: {text}" for text in _in_fields(expected[_key(line)], line))
        missing.pop(_key(line), None)
    yield from (f"{place}: never happened" for place in missing)


def _in_fields(expected: Line, found: Line) -> Iterator[str]:
    for name in expected | found:
        if expected.get(name) != found.get(name):
            yield f"`{name}` is {_shown(found.get(name))} instead of {_shown(expected.get(name))}"


def _in_metrics(whole: Path, resumed: Path) -> Iterator[str]:
    expected, found = (_rows(folder) for folder in (whole, resumed))
    for number, (one, other) in enumerate(zip(expected, found, strict=False)):
        if one != other:
            yield f"metrics.csv, line {number + 1}: `{other}` instead of `{one}`"
    if len(expected) != len(found):
        yield f"metrics.csv: {len(found)} lines instead of {len(expected)}"


def _in_outcomes(whole: Path, resumed: Path) -> Iterator[str]:
    expected, found = (json.loads((folder / "outcome.json").read_text()) for folder in (whole, resumed))
    yield from (f"at the end: {text}" for text in _in_fields(expected, found))


def _in_weights(whole: Path, resumed: Path) -> Iterator[str]:
    expected, found = (torch.load(folder / "weights.pt") for folder in (whole, resumed))
    if list(expected) != list(found):
        yield f"weights: {sorted(found)} instead of {sorted(expected)}"
    for name, value in expected.items():
        if not torch.equal(value, found[name]):
            yield f"weights: `{name}` differs"


def _rows(folder: Path) -> list[str]:
    return (folder / "run" / "version_0" / "metrics.csv").read_text().splitlines()


def _key(line: Line) -> str:
    return f"{line['kind']} {'.'.join(map(str, line['at']))}"


def _shown(value: object) -> str:
    """Return a value as people read it."""
    return str(float.fromhex(value)) if isinstance(value, str) and "0x" in value else str(value)
