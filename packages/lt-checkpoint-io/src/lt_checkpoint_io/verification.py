"""Finds out whether a checkpoint is what was written, to the last bit."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from pickle import UnpicklingError

from lt_checkpoint_io.opened_checkpoint import open_checkpoint
from lt_checkpoint_io.safetensors_format import expects_hash, is_safetensors, matches_hash, read_header
from lt_checkpoint_io.stored_tensor import Progress, size_text
from lt_checkpoint_io.zip_integrity import zip_problems
from lt_interfaces.commit import MANIFEST_NAME

_BLOCK = 1 << 20


@dataclass(frozen=True)
class VerificationReport:
    """What `verify_checkpoint` found; ``str()`` of it is for people."""

    path: str
    nbytes: int
    """Bytes on disk."""
    problems: list[str]
    """What's wrong; nothing, if the checkpoint is good."""
    notes: list[str]
    """What couldn't be checked, because nothing was stored to check it against."""

    @property
    def is_good(self) -> bool:
        """Say whether nothing is wrong."""
        return not self.problems

    def __str__(self) -> str:
        verdict = "good" if self.is_good else f"{len(self.problems)} problems"
        lines = [f"{self.path}: {verdict} ({size_text(self.nbytes)})"]
        lines += [f"  problem: {problem}" for problem in self.problems]
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)


def verify_checkpoint(
    path: str | PathLike[str], *, progress: Progress = lambda done, total: None
) -> VerificationReport:
    """Read all of a checkpoint and report what's wrong with it.

    In a torch file the checksum of each record and every header are checked, in a folder the sizes and hashes of its
    manifest, in a safetensors file of ours its hash. Then it's opened: what can't be loaded without running code is a
    problem too. A tensor is never loaded.

    Args:
        path: a torch file, the folder of a sharded checkpoint, or a safetensors file.
        progress: is told how many bytes are read, and how many there are.

    Raises:
        FileNotFoundError: nothing is there.

    >>> import tempfile, torch
    >>> path = tempfile.mkdtemp() + "/last.ckpt"
    >>> torch.save({"epoch": 2}, path)
    >>> verify_checkpoint(path).is_good
    True
    """
    source = Path(path)
    if not source.exists():
        message = f"There's no checkpoint at `{source}`."
        raise FileNotFoundError(message)
    notes: list[str] = []
    if source.is_dir():
        problems = list(_folder_problems(source, progress))
    elif source.stat().st_size == 0:
        problems = ["it's empty"]
    elif is_safetensors(source):
        problems = list(_safetensors_problems(source, progress, notes))
    elif _begins_as_zip(source):
        problems = list(zip_problems(source, progress))
    else:
        problems = []
        notes.append("this format has no checksums: only what makes it unreadable was found")
    return VerificationReport(str(source), _size_of(source), problems or list(_opening_problems(source)), notes)


def _folder_problems(folder: Path, progress: Progress) -> Iterator[str]:
    try:
        manifest = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
        listed = {str(name): (int(facts["size"]), str(facts["sha256"])) for name, facts in manifest["files"].items()}
        if manifest["version"] != 1:
            yield f"its `{MANIFEST_NAME}` has the unknown version {manifest['version']!r}"
            return
    except FileNotFoundError:
        yield f"`{MANIFEST_NAME}` is missing: it was never written to its end, or isn't a checkpoint"
        return
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        yield f"`{MANIFEST_NAME}` is damaged: {error!r}"
        return
    present = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()} - {MANIFEST_NAME}
    yield from (f"`{name}` isn't in the manifest" for name in sorted(present - listed.keys()))
    yield from (f"`{name}` is missing" for name in sorted(listed.keys() - present))
    done, total = 0, sum(size for size, _ in listed.values())
    for name in sorted(listed.keys() & present):
        size, sha256 = listed[name]
        yield from _file_problems(folder / name, size, sha256=sha256, progress=_after(done, total, progress=progress))
        done += size


def _after(before: int, total: int, *, progress: Progress) -> Callable[[int], None]:
    """Return what counts the bytes of one file on from those of the files before."""
    return lambda read: progress(before + read, total)


def _file_problems(file: Path, size: int, *, sha256: str, progress: Callable[[int], None]) -> Iterator[str]:
    found = file.stat().st_size
    if found != size:
        yield f"`{file.name}` has {found} bytes, {size} belong there"
        return
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(_BLOCK):
            digest.update(block)
            progress(opened.tell())
    if digest.hexdigest() != sha256:
        yield f"the contents of `{file.name}` have changed (sha256)"


def _safetensors_problems(file: Path, progress: Progress, notes: list[str]) -> Iterator[str]:
    try:
        _, metadata = read_header(file)
    except UnpicklingError as error:
        yield str(error)
        return
    if not expects_hash(metadata):
        notes.append("whoever wrote it stored no hash: its values weren't checked")
    elif not matches_hash(file, metadata, progress):
        yield "its contents have changed (sha256)"


def _opening_problems(path: Path) -> Iterator[str]:
    try:
        open_checkpoint(path)
    except UnpicklingError as error:
        yield str(error)


def _begins_as_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _size_of(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
