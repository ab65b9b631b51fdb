"""The folder of a sharded checkpoint: how tensors and the rest are laid out, written by all ranks, read safely.

=====================  =============================================================================================
``__RANK_N.distcp``    tensors, in the format of torch.distributed.checkpoint, under dotted names such as
                       ``optimizer_states.0.state.weight.exp_avg``
``.metadata``          where which part of which tensor is: torch's index, a pickle
``meta.pt``            everything else: a torch file with the checkpoint in which each tensor is an empty one on the
                       ``meta`` device, and the list of their names in the same order
``lt_manifest.json``   all files with sizes and hashes, written last
=====================  =============================================================================================

torch reads its index with plain `pickle`, which runs whatever code a hostile file holds. Here only the classes that an
index is made of are let through, and shards are read as tensors alone.
"""

import io
import math
import os
import pathlib
import pickle
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed._shard.sharded_tensor.api import ShardedTensor
from torch.distributed.checkpoint import filesystem, metadata
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor

from lt_checkpoint_io.file_slice import FileSlice
from lt_checkpoint_io.stored_tensor import is_plain
from lt_checkpoint_io.tensor_tree import Place, dotted, map_leaves
from lt_interfaces.commit import MANIFEST_NAME, is_whole
from lt_interfaces.torch_file import load_torch_file

REST_NAME: Final = "meta.pt"
INDEX_NAME: Final = ".metadata"

_INDEX_CLASSES: Final[Mapping[tuple[str, str], Any]] = {
    ("torch", "Size"): torch.Size,
    # what torch pickles `torch.strided` as: it looks a name up in a table
    ("torch.serialization", "_get_layout"): torch.serialization._get_layout,
    **{
        (metadata.__name__, name): getattr(metadata, name)
        for name in (
            "ChunkStorageMetadata",
            "Metadata",
            "MetadataIndex",
            "StorageMeta",
            "TensorProperties",
            "TensorStorageMetadata",
            "_MEM_FORMAT_ENCODING",
        )
    },
    (filesystem.__name__, "_StorageInfo"): filesystem._StorageInfo,
    # where the folder was when it was written, a path on any system
    **{
        (module, name): pathlib.PurePath
        for module in ("pathlib", "pathlib._local")
        for name in ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")
    },
}


def is_sharded_folder(path: Path) -> bool:
    """Say whether a folder is laid out as a sharded checkpoint."""
    return (path / REST_NAME).is_file() and (path / INDEX_NAME).is_file()


# --- writing ---


@dataclass(frozen=True)
class SplitCheckpoint:
    """A checkpoint as it goes into a folder: this rank's tensors by name, and the rest with empty ones in place."""

    rest: Any
    tensors: dict[str, Any]
    names: list[str]

    def write_rest(self, folder: Path) -> None:
        """Write what isn't a tensor; one rank does."""
        torch.save({"version": 1, "checkpoint": self.rest, "tensors": self.names}, folder / REST_NAME)

    def write_tensors(self, folder: Path, group: dist.ProcessGroup | None) -> None:
        """Write this rank's tensors; collective where a process group is there.

        Raises:
            OSError: on all ranks, when one couldn't write.
        """
        writer = filesystem.FileSystemWriter(folder)
        planner = DefaultSavePlanner(flatten_state_dict=False, dedup_save_to_lowest_rank=True)
        alone = not (dist.is_available() and dist.is_initialized())
        with _single_process_is_fine(), _failures_as_oserror(folder):
            save(self.tensors, storage_writer=writer, planner=planner, process_group=group, no_dist=alone)


def split(checkpoint: Mapping[str, Any], rank: int) -> SplitCheckpoint:
    """Part a checkpoint into this rank's tensors and the rest.

    Sharded tensors are every rank's; all others are taken to be the same everywhere and are rank 0's. Tensors that
    share their data (tied weights) are written once.

    Raises:
        ValueError: a tensor on the ``meta`` device, which has no data.
    """
    tensors: dict[str, Any] = {}
    names: list[str] = []
    name_of: dict[object, str] = {}

    def take(place: Place, leaf: Any) -> Any:
        if not _is_storable(leaf):
            return leaf
        _refuse_meta(place, leaf)
        leaf = leaf if isinstance(leaf, ShardedTensor) else leaf.detach()
        name = name_of.setdefault(_identity(leaf), _free_name(dotted(place), names))
        names.append(name)
        if _is_written_by(rank, leaf):
            tensors[name] = leaf
        return torch.empty(leaf.size(), dtype=leaf.dtype, device="meta")

    rest = map_leaves(dict(checkpoint), take)
    return SplitCheckpoint(rest, tensors, names)


def _is_storable(leaf: object) -> bool:
    """Say whether torch.distributed.checkpoint can hold it; sparse and quantized tensors go with the rest."""
    return isinstance(leaf, DTensor | ShardedTensor) or is_plain(leaf)


def _refuse_meta(place: Place, leaf: Any) -> None:
    if str(getattr(leaf, "device", "")) == "meta":
        message = f"`{dotted(place)}` is on the meta device: it has no data that a checkpoint could hold."
        raise ValueError(message)


def _local(leaf: Any) -> Any:
    return leaf.to_local() if isinstance(leaf, DTensor) else leaf


def _identity(leaf: Any) -> object:
    """Return what is equal for tensors that share their data, and for no others."""
    local = _local(leaf)
    if isinstance(local, ShardedTensor) or local.numel() == 0:
        return id(leaf)
    return (local.untyped_storage().data_ptr(), local.storage_offset(), local.stride(), leaf.size(), leaf.dtype)


def _free_name(name: str, taken: list[str]) -> str:
    """Return the name, or one like it where dots make two places one (``{"a.b": ..., "a": {"b": ...}}``)."""
    if name not in taken:
        return name
    return _free_name(f"{name}#", taken)


def _is_written_by(rank: int, leaf: Any) -> bool:
    if isinstance(leaf, ShardedTensor):
        return True
    if isinstance(leaf, DTensor):
        # a rank whose part is empty has nothing to add
        return bool(leaf.to_local().numel() or not leaf.numel())
    return rank == 0


@contextmanager
def _single_process_is_fine() -> Iterator[None]:
    """Keep torch from warning that there's no process group, which we said ourselves."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)
        yield


@contextmanager
def _failures_as_oserror(folder: Path) -> Iterator[None]:
    try:
        yield
    except CheckpointException as error:  # torch makes it a BaseException, which nobody catches
        causes = "; ".join(f"rank {rank}: {cause!r}" for rank, (cause, _) in sorted(error.failures.items()))
        message = f"The shards in `{folder}` couldn't be written: {causes}"
        raise OSError(message) from error


# --- reading ---


class _IndexUnpickler(pickle.Unpickler):
    """Lets nothing through but what an index is made of."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if (module, name) not in _INDEX_CLASSES:
            message = f"it asks for `{module}.{name}`, which no index of tensors needs"
            raise pickle.UnpicklingError(message)
        return _INDEX_CLASSES[module, name]


@dataclass(frozen=True)
class ShardedFolder:
    """A sharded checkpoint that is read from its folder, tensor by tensor.

    Raises:
        UnpicklingError: the folder isn't whole, or its index or its rest is damaged or hostile.
    """

    path: Path
    weights_only: bool = True
    index: metadata.Metadata = field(init=False)
    rest: Any = field(init=False)
    """The checkpoint with empty tensors on the ``meta`` device."""
    names: list[str] = field(init=False)
    """The names of the tensors, in the order of the checkpoint."""

    def __post_init__(self) -> None:
        if not is_whole(self.path):
            message = _lightnings(self.path) or (
                f"The folder `{self.path}` is no whole checkpoint: its manifest is missing, or files are missing or "
                "cut off. `verify_checkpoint` lists them."
            )
            raise pickle.UnpicklingError(message)
        if not is_sharded_folder(self.path):
            message = f"The folder `{self.path}` is no sharded checkpoint: `{REST_NAME}` or `{INDEX_NAME}` is missing."
            raise pickle.UnpicklingError(message)
        stored = load_torch_file(self.path / REST_NAME, weights_only=self.weights_only)
        object.__setattr__(self, "index", read_index(self.path))
        object.__setattr__(self, "rest", stored["checkpoint"])
        object.__setattr__(self, "names", stored["tensors"])

    def filled(self, fill: Any) -> dict[str, Any]:
        """Return the checkpoint with ``fill(place, name, empty tensor)`` in the place of each tensor."""
        names = iter(self.names)

        def change(place: Place, leaf: Any) -> Any:
            is_empty = isinstance(leaf, Tensor) and leaf.device.type == "meta"
            return fill(place, next(names), leaf) if is_empty else leaf

        filled: dict[str, Any] = map_leaves(self.rest, change)
        return filled

    def facts(self, name: str) -> metadata.TensorStorageMetadata:
        """Return size, dtype and parts of a tensor.

        Raises:
            UnpicklingError: it isn't there, or parts are missing.
        """
        facts = self.index.state_dict_metadata.get(name)
        if not isinstance(facts, metadata.TensorStorageMetadata):
            self._refuse(f"its index has no tensor `{name}`")
        if sum(math.prod(chunk.sizes) for chunk in facts.chunks) != math.prod(facts.size):
            self._refuse(f"parts of the tensor `{name}` are missing")
        return facts

    def read(self, name: str) -> Tensor:
        """Return one whole tensor; beside it, memory for its largest shard is taken if it has several."""
        facts = self.facts(name)
        chunks = [chunk for chunk in facts.chunks if math.prod(chunk.sizes)]
        if len(chunks) == 1 and chunks[0].sizes == facts.size:
            return self.read_chunk(name, chunks[0])
        whole = torch.empty(facts.size, dtype=facts.properties.dtype)
        for chunk in chunks:
            part = whole
            for dimension, (offset, size) in enumerate(zip(chunk.offsets, chunk.sizes, strict=True)):
                part = part.narrow(dimension, offset, size)
            part.copy_(self.read_chunk(name, chunk))
        return whole

    def read_chunk(self, name: str, chunk: metadata.ChunkStorageMetadata) -> Tensor:
        """Return one stored part of a tensor."""
        stored = self.index.storage_data.get(metadata.MetadataIndex(name, chunk.offsets))
        if stored is None:
            self._refuse(f"a part of the tensor `{name}` is missing")
        with (self.path / stored.relative_path).open("rb") as file:
            opened = io.BufferedReader(FileSlice(file, stored.offset, stored.length))
            try:
                tensor = torch.load(opened, map_location="cpu", weights_only=True)
            except (pickle.UnpicklingError, RuntimeError, EOFError, LookupError) as error:
                self._refuse(f"a part of the tensor `{name}` can't be read: {error}", error)
        if not isinstance(tensor, Tensor) or tensor.size() != chunk.sizes:
            self._refuse(f"a part of the tensor `{name}` has another shape than the index says")
        return tensor

    def _refuse(self, reason: str, cause: Exception | None = None) -> NoReturn:
        message = f"The checkpoint `{self.path}` is damaged: {reason}."
        raise pickle.UnpicklingError(message) from cause


def _lightnings(folder: Path) -> str | None:
    """Return what to do with a folder of Lightning's sharded strategies, or ``None`` if it isn't one.

    It has files of the same names, but other things in them, and no manifest.
    """
    rest = folder / REST_NAME
    if (folder / MANIFEST_NAME).exists() or not is_sharded_folder(folder) or not is_whole(rest):
        return None
    try:
        if load_torch_file(rest).keys() >= {"checkpoint", "tensors"}:
            return None  # ours, without its manifest
    except (pickle.UnpicklingError, TypeError):
        pass  # ours can be read
    return (
        f"The folder `{folder}` looks like a sharded checkpoint of Lightning, which isn't read here. Make one file of "
        "it where Lightning is installed, and load that: "
        f"`python -m lightning.pytorch.utilities.consolidate_checkpoint {folder}`."
    )


def read_index(folder: Path) -> metadata.Metadata:
    """Read torch's index of a folder without running code that it may hold.

    Raises:
        UnpicklingError: it's damaged, or asks for something that no index needs.
    """
    try:
        with (folder / INDEX_NAME).open("rb") as file:
            index: metadata.Metadata = _IndexUnpickler(file).load()
        _check_index(folder, index)
    # a damaged pickle can make the unpickler raise nearly anything
    except Exception as error:
        message = f"The index `{folder / INDEX_NAME}` is damaged or hostile: {error}"
        raise pickle.UnpicklingError(message) from error
    return index


def _check_index(folder: Path, index: Any) -> None:
    """Raise unless it names tensors alone, in files of this very folder that are there."""
    if not isinstance(index, metadata.Metadata):
        message = f"it holds {type(index).__name__}, not an index"
        raise TypeError(message)
    for name, facts in index.state_dict_metadata.items():
        if not isinstance(facts, metadata.TensorStorageMetadata):
            message = f"`{name}` is no tensor"
            raise TypeError(message)
    for file in {stored.relative_path for stored in index.storage_data.values()}:
        if os.path.basename(file) != file or not (folder / file).is_file():
            message = f"the file {file!r} isn't in the folder"
            raise ValueError(message)
