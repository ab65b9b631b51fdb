"""SLURM's short form of host names: "n[1-3,07],m2" stands for n1, n2, n3, n07 and m2."""

import re
from collections.abc import Iterator
from itertools import product
from typing import Final

_BRACKETS: Final = re.compile(r"\[([^\[\]]*)\]")
_RANGE: Final = re.compile(r"(\d+)(?:-(\d+))?")
# A comma within brackets parts numbers, one outside parts names.
_NAME: Final = re.compile(r"(?:[^,\[\]\s]|\[[^\[\]]*\])+")
_LIST: Final = re.compile(rf"{_NAME.pattern}(?:(?:,|\s+){_NAME.pattern})*")


def expand_nodelist(nodelist: str) -> list[str]:
    """Return the host names that a list of SLURM's stands for, in its order.

    Numbers keep their leading zeros; a name may have several pairs of brackets, and go on behind them.

    Raises:
        ValueError: it isn't one.

    >>> expand_nodelist("n[1-3,07],m2,gpu-[009-010]")
    ['n1', 'n2', 'n3', 'n07', 'm2', 'gpu-009', 'gpu-010']
    """
    if not _LIST.fullmatch(nodelist.strip()):
        message = f"The list of nodes {nodelist!r} should look like 'n[1-3,07],m2'."
        raise ValueError(message)
    return [host for name in _NAME.findall(nodelist) for host in _hosts(name)]


def _hosts(name: str) -> Iterator[str]:
    """Yield the names of one entry, the last pair of brackets running fastest."""
    parts = _BRACKETS.split(name)  # plain text and what's between brackets take turns
    choices = [list(_numbers(part)) if index % 2 else [part] for index, part in enumerate(parts)]
    yield from ("".join(chosen) for chosen in product(*choices))


def _numbers(ranges: str) -> Iterator[str]:
    for text in ranges.split(","):
        match = _RANGE.fullmatch(text.strip())
        if match is None:
            message = f"{text!r} in a list of nodes should look like '07' or '001-128'."
            raise ValueError(message)
        first, last = match[1], match[2] or match[1]
        for number in range(int(first), int(last) + 1):
            yield str(number).zfill(len(first))
