"""Shows how two checkpoints differ."""

from dataclasses import dataclass
from os import PathLike
from typing import Any, Final

import torch

from lt_checkpoint_io.opened_checkpoint import OpenedCheckpoint, open_checkpoint
from lt_checkpoint_io.stored_tensor import Progress, StoredTensor
from lt_checkpoint_io.tensor_tree import dotted, leaves

_CONFIGURATION: Final = ("hyper_parameters", "datamodule_hyper_parameters")
_COUNTERS: Final = ("epoch", "global_step")
_BLOCK_VALUES: Final = 1 << 20


@dataclass(frozen=True)
class ValueChange:
    """A value, however nested, that isn't the same in both."""

    name: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.name}: {self.before} -> {self.after}"


@dataclass(frozen=True)
class TensorChange:
    """A tensor whose shape, dtype or values aren't the same in both."""

    name: str
    before: str
    after: str
    max_difference: float | None
    """The largest absolute difference of two values; None where shape or dtype differ."""

    def __str__(self) -> str:
        if self.max_difference is None:
            return f"{self.name}: {self.before} -> {self.after}"
        return f"{self.name}: {self.after}, values differ by up to {self.max_difference:.3g}"


@dataclass(frozen=True)
class CheckpointDifference:
    """What `diff_checkpoints` found; ``str()`` of it is for people."""

    first: str
    second: str
    configuration: list[ValueChange]
    """Hyper-parameters of the module and the data."""
    counters: list[ValueChange]
    """Epoch and global step."""
    others: list[ValueChange]
    """Everything else that isn't a tensor."""
    only_in_first: list[str]
    only_in_second: list[str]
    tensors: list[TensorChange]

    @property
    def is_empty(self) -> bool:
        """Say whether they don't differ, as far as was compared."""
        return not any(self._sections().values())

    def __str__(self) -> str:
        lines = [f"--- {self.first}", f"+++ {self.second}"]
        for title, found in self._sections().items():
            lines += [f"{title} ({len(found)})", *(f"  {item}" for item in found)] if found else []
        return "\n".join([*lines, "no difference"] if self.is_empty else lines)

    def _sections(self) -> dict[str, list[Any]]:
        return {
            "configuration": self.configuration,
            "counters": self.counters,
            "only in the first": self.only_in_first,
            "only in the second": self.only_in_second,
            "tensors": self.tensors,
            "other values": self.others,
        }


def diff_checkpoints(
    first: str | PathLike[str],
    second: str | PathLike[str],
    *,
    values: bool = False,
    progress: Progress = lambda done, total: None,
) -> CheckpointDifference:
    """Compare two checkpoints of any format: configuration, counters, keys, shapes and dtypes.

    Args:
        first: a torch file, the folder of a sharded checkpoint, or a safetensors file.
        second: the other one.
        values: compare what's in the tensors too, one pair at a time; reads both checkpoints whole.
        progress: is told how many bytes of tensors are compared, and how many there are.

    Raises:
        FileNotFoundError: nothing is at a path.
        UnpicklingError: one is damaged, no checkpoint, or holds objects that only unpickling could bring back.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> for name, width in (("a", 2), ("b", 3)):
    ...     torch.save({"hyper_parameters": {"width": width}, "epoch": 1}, f"{folder}/{name}.ckpt")
    >>> print(*diff_checkpoints(f"{folder}/a.ckpt", f"{folder}/b.ckpt").configuration)
    hyper_parameters.width: 2 -> 3
    """
    one, other = open_checkpoint(first), open_checkpoint(second)
    before, after = _flat(one), _flat(other)
    changes = [
        ValueChange(name, _shown(before[name]), _shown(after[name]))
        for name in before
        if name in after and not _is_same(before[name], after[name])
    ]
    return CheckpointDifference(
        first=str(one.path),
        second=str(other.path),
        configuration=[change for change in changes if change.name.split(".")[0] in _CONFIGURATION],
        counters=[change for change in changes if change.name in _COUNTERS],
        others=[change for change in changes if change.name.split(".")[0] not in _CONFIGURATION + _COUNTERS],
        only_in_first=[name for name in before if name not in after],
        only_in_second=[name for name in after if name not in before],
        tensors=_tensor_changes(before, after, values=values, progress=progress),
    )


def _flat(opened: OpenedCheckpoint) -> dict[str, Any]:
    return {dotted(place): leaf for place, leaf in leaves(opened.tree)}


def _is_same(before: Any, after: Any) -> bool:
    if isinstance(before, StoredTensor) and isinstance(after, StoredTensor):
        return True  # compared as tensors
    if type(before) is not type(after):
        return False
    # sparse and quantized tensors have no single answer to ==
    return repr(before) == repr(after) if isinstance(before, torch.Tensor) else bool(before == after)


def _shown(value: Any) -> str:
    text = str(value) if isinstance(value, StoredTensor) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _tensor_changes(
    before: dict[str, Any], after: dict[str, Any], *, values: bool, progress: Progress
) -> list[TensorChange]:
    pairs = {
        name: (tensor, after[name])
        for name, tensor in before.items()
        if isinstance(tensor, StoredTensor) and isinstance(after.get(name), StoredTensor)
    }
    changes = []
    done, total = 0, sum(one.nbytes for one, _ in pairs.values())
    for name, (one, other) in pairs.items():
        same_kind = (one.shape, one.dtype) == (other.shape, other.dtype)
        largest = _largest_difference(one, other) if values and same_kind else None
        if not same_kind or largest:
            changes.append(TensorChange(name, str(one), str(other), largest))
        done += one.nbytes
        progress(done, total)
    return changes


def _largest_difference(one: StoredTensor, other: StoredTensor) -> float:
    """Return the largest absolute difference; infinite where only one value isn't a number."""
    left, right = one.read().flatten(), other.read().flatten()
    wide = torch.complex128 if one.dtype.is_complex else torch.float64
    largest = 0.0
    for start in range(0, left.numel(), _BLOCK_VALUES):
        a, b = left[start : start + _BLOCK_VALUES].to(wide), right[start : start + _BLOCK_VALUES].to(wide)
        difference = (a - b).abs()
        # equal infinities and two values that aren't numbers are no difference
        difference[(a == b) | (a.isnan() & b.isnan())] = 0.0
        largest = max(largest, float(difference.nan_to_num(nan=float("inf"), posinf=float("inf")).max()))
    if not largest and not (one.dtype.is_floating_point or one.dtype.is_complex) and not torch.equal(left, right):
        return 1.0  # integers so large that float64 can't tell them apart
    return largest
