"""One checkpoint as one local file in torch's format: written so that no kill tears it, read without running code."""

from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any, Final

import torch
from torch import Tensor

from lt_interfaces.commit import commit_file, is_whole

# What torch and its unpickler raise when they read on after a byte that has changed; found by changing every byte.
_FROM_DAMAGE: Final = (
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
)


def save_torch_file(checkpoint: Mapping[str, Any], path: str | PathLike[str]) -> None:
    """Stream a checkpoint into a file that appears when it's complete and on disk; nothing is copied in memory.

    Raises:
        OSError: the file can't be written; it names the path, and what was there before is whole.
        TypeError: the checkpoint holds sharded tensors; nothing was written.
    """
    refuse_sharded(checkpoint)
    try:
        with commit_file(path) as file:
            torch.save(checkpoint, file)
    except (OSError, RuntimeError) as error:
        reason = _system_error(error)
        if reason is None:
            raise
        raise OSError(reason.errno, reason.strerror, str(path)) from reason


def refuse_sharded(checkpoint: Mapping[str, Any]) -> None:
    """Refuse a checkpoint that one rank alone is to write, but of whose tensors it holds only its parts.

    Raises:
        TypeError: naming the first sharded tensor, and what saves it.
    """
    for name in _sharded_names(checkpoint, (), set()):
        message = (
            f"`{name}` is sharded (DTensor): this rank holds a part of it, and a file that it writes alone would lack "
            "the others. Let all ranks save with `DistributedCheckpointIO` of lt-checkpoint-io, or let the strategy "
            "gather the state on rank 0 with `state_dict_type='full'`."
        )
        raise TypeError(message)


def is_dtensor(tensor: Tensor) -> bool:
    """Say whether a tensor is sharded over ranks, a DTensor; its module, which takes long to import, isn't needed."""
    return hasattr(tensor, "device_mesh") and hasattr(tensor, "placements")


def _sharded_names(value: Any, place: tuple[Any, ...], seen: set[int]) -> Iterator[str]:
    if isinstance(value, Tensor):
        if is_dtensor(value):
            yield ".".join(map(str, place))
        return
    if not isinstance(value, Mapping | list | tuple) or id(value) in seen:
        return
    seen.add(id(value))
    items = value.items() if isinstance(value, Mapping) else enumerate(value)
    for key, item in items:
        yield from _sharded_names(item, (*place, key), seen)


def _system_error(error: BaseException | None) -> OSError | None:
    """Return the system's error that names no file, which torch hides behind one of its own when it closes the file."""
    while error is not None:
        if isinstance(error, OSError):
            return error if error.filename is None and error.errno is not None else None
        error = error.__context__
    return None


def load_torch_file(
    path: str | PathLike[str], map_location: Any | None = None, weights_only: bool | None = None
) -> dict[str, Any]:
    """Read a checkpoint file.

    Args:
        path: the file.
        map_location: as in `torch.load`; ``None`` loads to the CPU.
        weights_only: ``None`` and ``True`` never unpickle arbitrary objects.

    Raises:
        FileNotFoundError: nothing is there.
        IsADirectoryError: a folder is there.
        UnpicklingError: the file is damaged, or holds objects that only unpickling could bring back.
        TypeError: the file holds something else than a dict.

    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/last.ckpt"
    >>> save_torch_file({"epoch": 3}, path)
    >>> load_torch_file(path)
    {'epoch': 3}
    """
    source = Path(path)
    if not source.exists():
        message = f"There's no checkpoint at `{source}`."
        raise FileNotFoundError(message)
    if source.is_dir():
        message = (
            f"`{source}` is a folder; only single files are read here. If it's a sharded checkpoint, "
            "`pip install lt-checkpoint-io`: its `TorchCheckpointIO`, the default then, resumes from such folders, and "
            "its `consolidate_checkpoint` makes one file of one."
        )
        raise IsADirectoryError(message)
    if not is_whole(source):
        message = f"`{source}` is damaged: it was never written to its end, or cut off since."
        raise UnpicklingError(message)
    return read_torch_file(source, map_location, weights_only=weights_only, name=str(source))


def read_torch_file(
    source: Path | IO[bytes], map_location: Any | None = None, *, weights_only: bool | None = None, name: str
) -> dict[str, Any]:
    """Read a checkpoint from an open file, or from a path that was looked at before.

    Args:
        source: where to read.
        map_location: as in `torch.load`; ``None`` loads to the CPU.
        weights_only: ``None`` and ``True`` never unpickle arbitrary objects.
        name: what messages call the source.

    Raises:
        UnpicklingError: the content is damaged, or holds objects that only unpickling could bring back.
        TypeError: it isn't a dict.
    """
    safe = weights_only is not False
    try:
        loaded = torch.load(source, map_location="cpu" if map_location is None else map_location, weights_only=safe)
    except (UnpicklingError, ImportError) as error:
        message = _refusal(name, error) if safe else _damage(name, error)
        raise UnpicklingError(message) from error
    except _FROM_DAMAGE as error:
        if isinstance(error, torch.OutOfMemoryError) or "Attempting to deserialize" in str(error):
            raise  # the file is fine, but the device isn't
        message = _damage(name, error)
        raise UnpicklingError(message) from error
    if not isinstance(loaded, dict):
        message = f"`{name}` isn't a checkpoint: a dict is expected, but it holds a {type(loaded).__name__}."
        raise TypeError(message)
    return loaded


def _damage(name: str, error: Exception) -> str:
    return f"`{name}` is damaged or no checkpoint. What torch says: {error}"


def _refusal(name: str, error: Exception) -> str:
    return (
        f"`{name}` can't be loaded as plain values and tensors: it's damaged, or it holds other objects, which may run "
        "code when they're loaded. If you trust whoever wrote it, pass `weights_only=False`; or allow single classes "
        f"with `torch.serialization.add_safe_globals([...])`. What torch says: {error}"
    )
