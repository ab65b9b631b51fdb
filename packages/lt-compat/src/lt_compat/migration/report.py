"""What a migration says: the diff, and what remains to be done."""

import difflib
from collections.abc import Iterator, Sequence

from lt_compat.migration.files import MigratedFile


def as_diff(file: MigratedFile) -> Iterator[str]:
    """Yield the lines of a unified diff, each with its end."""
    before, after = (text.decode(errors="replace").splitlines(keepends=True) for text in (file.before, file.after))
    name = str(file.file).lstrip("/")
    for line in difflib.unified_diff(before, after, f"a/{name}", f"b/{name}"):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def summary(files: Sequence[MigratedFile], *, written: bool) -> Iterator[str]:
    """Yield the lines behind the diff: what stays Lightning's, and what the result needs."""
    for file in files:
        if file.problem:
            yield f"{file.file}: not read: {file.problem}"
        for left in file.left:
            yield f"{file.file}:{left.line}: left `{left.name}`. {left.why}"
    changed = sum(file.is_changed for file in files)
    keeping = sum(bool(file.left) for file in files)
    done = "were rewritten" if written else "would be rewritten"
    yield f"{changed} of {len(files)} files {done}, {keeping} keep names of Lightning's."
    if packages := sorted({package for file in files for package in file.packages}):
        yield f"What was rewritten needs: pip install {' '.join(_smallest(packages))}"
    if any(left.is_imported for file in files for left in file.left):
        yield "What keeps names of Lightning's still needs lt-compat: python -m lt_compat run SCRIPT"
    if changed and not written:
        yield "Nothing was written: add --write for that."


def _smallest(packages: Sequence[str]) -> Sequence[str]:
    """lt-all brings all others."""
    return ["lt-all"] if "lt-all" in packages else packages
