"""Shows what is in a checkpoint, without reading its tensors."""

from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch

from lt_checkpoint_io.opened_checkpoint import CheckpointFormat, OpenedCheckpoint, open_checkpoint
from lt_checkpoint_io.stored_tensor import StoredTensor, size_text
from lt_checkpoint_io.tensor_tree import dotted, leaves

_SHOWN_TENSORS = 20


@dataclass(frozen=True)
class EntrySummary:
    """One top-level key of a checkpoint."""

    name: str
    num_tensors: int
    num_values: int
    """Numbers in its tensors: the parameters and buffers of a ``state_dict``."""
    nbytes: int
    """Bytes of its tensors, tied ones counted once."""
    preview: str
    """The value, shortened; empty where there are tensors."""


@dataclass(frozen=True)
class TensorSummary:
    """One tensor of a checkpoint."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    nbytes: int


@dataclass(frozen=True)
class CheckpointSummary:
    """What `inspect_checkpoint` found; ``str()`` of it is for people."""

    path: str
    format: CheckpointFormat
    nbytes: int
    """Bytes on disk."""
    epoch: int | None
    global_step: int | None
    versions: dict[str, str]
    """The version of Lightning's file format, and the packages that wrote it, where it says so."""
    entries: list[EntrySummary]
    tensors: list[TensorSummary]

    def render(self, max_tensors: int | None = None) -> str:
        """Return it as text, with so many tensors at most, all by default."""
        facts = {
            "format": f"{self.format}, {size_text(self.nbytes)}",
            "epoch": self.epoch,
            "global_step": self.global_step,
            "versions": ", ".join(f"{name} {version}" for name, version in self.versions.items()) or None,
        }
        shown = self.tensors[:max_tensors]
        hidden = len(self.tensors) - len(shown)
        lines = [
            self.path,
            *(f"  {name + ':':<18}{fact}" for name, fact in facts.items() if fact is not None),
            "",
            *_table(("key", "tensors", "values", "size", ""), [_entry_row(entry) for entry in self.entries]),
            "",
            *_table(("tensor", "shape", "dtype", "size"), [_tensor_row(tensor) for tensor in shown]),
            *([f"  ... and {hidden} more tensors"] if hidden else []),
        ]
        return "\n".join(line.rstrip() for line in lines)

    def __str__(self) -> str:
        return self.render(_SHOWN_TENSORS)


def inspect_checkpoint(path: str | PathLike[str]) -> CheckpointSummary:
    """Return what a checkpoint holds: keys, sizes, counters, versions and every tensor's shape and dtype.

    Files are mapped and folders' indexes read: no tensor comes into memory. Nothing in the checkpoint is run.

    Args:
        path: a torch file (also one that Lightning wrote), the folder of a sharded checkpoint, or a safetensors file.

    Raises:
        FileNotFoundError: nothing is there.
        UnpicklingError: it's damaged, no checkpoint, or holds objects that only unpickling could bring back.

    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/last.ckpt"
    >>> torch.save({"epoch": 2, "state_dict": {"weight": torch.ones(3, 4)}}, path)
    >>> inspect_checkpoint(path).tensors
    [TensorSummary(name='state_dict.weight', shape=(3, 4), dtype=torch.float32, nbytes=48)]
    """
    opened = open_checkpoint(path)
    tree = opened.tree
    return CheckpointSummary(
        path=str(opened.path),
        format=opened.format,
        nbytes=opened.nbytes,
        epoch=tree.get("epoch"),
        global_step=tree.get("global_step"),
        versions=_versions(opened),
        entries=[_entry(str(name), value) for name, value in tree.items()],
        tensors=[
            TensorSummary(dotted(place), leaf.shape, leaf.dtype, leaf.nbytes)
            for place, leaf in leaves(tree)
            if isinstance(leaf, StoredTensor)
        ],
    )


def _versions(opened: OpenedCheckpoint) -> dict[str, str]:
    own = opened.tree.get("lt")
    packages = own.get("versions") if isinstance(own, dict) else None
    lightning = opened.tree.get("pytorch-lightning_version")
    versions = ({"lightning format": lightning} if lightning else {}) | (packages if isinstance(packages, dict) else {})
    return {str(name): str(version) for name, version in versions.items()}


def _entry(name: str, value: Any) -> EntrySummary:
    found = [leaf for _, leaf in leaves(value) if isinstance(leaf, StoredTensor)]
    distinct = {tensor.key: tensor for tensor in found}.values()
    preview = "" if found else _shortened(repr(value))
    return EntrySummary(
        name, len(found), sum(tensor.numel for tensor in distinct), sum(tensor.nbytes for tensor in distinct), preview
    )


def _shortened(text: str, width: int = 60) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."


def _entry_row(entry: EntrySummary) -> tuple[str, ...]:
    if not entry.num_tensors:
        return (entry.name, "", "", "", entry.preview)
    return (entry.name, str(entry.num_tensors), f"{entry.num_values:,}", size_text(entry.nbytes), "")


def _tensor_row(tensor: TensorSummary) -> tuple[str, ...]:
    dtype = str(tensor.dtype).removeprefix("torch.")
    return (tensor.name, str(list(tensor.shape)), dtype, size_text(tensor.nbytes))


def _table(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (titles, *rows)
    ]
