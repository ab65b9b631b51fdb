"""Changes of a text: pieces that are replaced while everything else stays as it is."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """A piece of a text, from one byte to another, and what takes its place."""

    start: int
    end: int
    new: str


def apply(edits: Iterable[Edit], code: bytes) -> bytes:
    """Return a text with its pieces replaced.

    Raises:
        ValueError: two pieces overlap.

    >>> apply([Edit(0, 1, "A"), Edit(2, 3, "")], b"a-b")
    b'A-'
    """
    parts, done = [], 0
    for edit in sorted(edits):
        if edit.start < done:
            message = f"two changes overlap at byte {edit.start}"
            raise ValueError(message)
        parts += [code[done : edit.start], edit.new.encode()]
        done = edit.end
    return b"".join([*parts, code[done:]])
