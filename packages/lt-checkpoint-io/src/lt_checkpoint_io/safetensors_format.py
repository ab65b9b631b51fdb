"""The safetensors file format: a JSON header with names, dtypes and places, then the values of all tensors."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO, Final

import torch
from torch import Tensor

from lt_checkpoint_io.stored_tensor import Progress, StoredTensor, give_back_memory, packed, raw_bytes

METADATA_KEY: Final = "__metadata__"
SHARED_KEY: Final = "shared_tensors"
"""Metadata: which further names the tensors have (tied weights), as JSON ``{name: name in the file}``."""
HASH_KEY: Final = "lt_sha256"
"""Metadata: the hash of the whole file, taken with zeros in its own place."""
MARK_KEY: Final = "lt_format"
"""Metadata: that the file is ours and must have a hash, should the name of the hash be damaged."""

_NO_HASH: Final = "0" * 64
_CODES: Final = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.uint16: "U16",
    torch.int16: "I16",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.uint32: "U32",
    torch.int32: "I32",
    torch.float32: "F32",
    torch.uint64: "U64",
    torch.int64: "I64",
    torch.float64: "F64",
    torch.complex64: "C64",
}
_DTYPES: Final = {code: dtype for dtype, code in _CODES.items()}


def write_safetensors(
    file: BinaryIO, tensors: Mapping[str, StoredTensor], *, metadata: Mapping[str, str], progress: Progress
) -> None:
    """Write tensors one by one; those with the same key once, under their first name.

    Raises:
        ValueError: a dtype that the format doesn't have.
    """
    first_name: dict[str, str] = {}
    for name, tensor in tensors.items():
        first_name.setdefault(tensor.key, name)
    shared = {name: first_name[tensor.key] for name, tensor in tensors.items() if first_name[tensor.key] != name}
    facts = {**metadata, **({SHARED_KEY: json.dumps(shared)} if shared else {}), MARK_KEY: "1", HASH_KEY: _NO_HASH}
    # the widest values first: every tensor then starts at a multiple of its item size
    written = sorted(first_name.values(), key=lambda name: (-tensors[name].dtype.itemsize, name))
    header = _header({name: tensors[name] for name in written}, facts)
    digest = hashlib.sha256(header)
    file.write(header)
    done, total = 0, sum(tensors[name].nbytes for name in written)
    for name in written:
        values = packed(tensors[name].read())
        file.write(raw_bytes(values))
        digest.update(raw_bytes(values))
        del values
        give_back_memory()
        done += tensors[name].nbytes
        progress(done, total)
    file.seek(_hash_position(header))
    file.write(digest.hexdigest().encode())
    file.seek(0, os.SEEK_END)


def is_safetensors(path: Path) -> bool:
    """Say whether a file is called so, or begins as the format does."""
    if path.suffix == ".safetensors":
        return True
    with path.open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") + 8 <= path.stat().st_size


def read_header(path: Path) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """Return the tensors, further names of tied ones included, and the metadata; no values are read.

    Raises:
        UnpicklingError: the file is damaged or cut off.
    """
    try:
        header = _read_json(path)
        metadata = header.pop(METADATA_KEY, {})
        tensors = {name: _stored(path, name, facts) for name, facts in header.items()}
        end = max((facts["data_offsets"][1] for facts in header.values()), default=0)
        shared = {name: tensors[kept] for name, kept in json.loads(metadata.get(SHARED_KEY, "{}")).items()}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        message = f"`{path}` is damaged or no safetensors file: {error!r}"
        raise UnpicklingError(message) from error
    if _data_start(path) + end != path.stat().st_size:
        message = f"`{path}` is damaged: it has {path.stat().st_size} bytes, {_data_start(path) + end} belong there."
        raise UnpicklingError(message)
    return tensors | shared, metadata


def expects_hash(metadata: Mapping[str, str]) -> bool:
    """Say whether a file must have a hash; other writers leave none."""
    return HASH_KEY in metadata or MARK_KEY in metadata


def matches_hash(path: Path, metadata: Mapping[str, str], progress: Progress) -> bool:
    """Read the whole file and say whether it is what was written."""
    if len(metadata.get(HASH_KEY, "")) != len(_NO_HASH):
        return False
    total = path.stat().st_size
    with path.open("rb") as file:
        header = bytearray(file.read(_data_start(path)))
        position = _hash_position(bytes(header).replace(metadata[HASH_KEY].encode(), _NO_HASH.encode(), 1))
        header[position : position + len(_NO_HASH)] = _NO_HASH.encode()
        digest = hashlib.sha256(header)
        while block := file.read(1 << 20):
            digest.update(block)
            progress(file.tell(), total)
    return digest.hexdigest() == metadata[HASH_KEY]


def _header(tensors: Mapping[str, StoredTensor], metadata: Mapping[str, str]) -> bytes:
    entries: dict[str, Any] = {METADATA_KEY: dict(metadata)}
    offset = 0
    for name, tensor in tensors.items():
        if tensor.dtype not in _CODES:
            message = f"`{name}` has the dtype {tensor.dtype}, which a safetensors file can't hold. Convert it first."
            raise ValueError(message)
        entries[name] = {
            "dtype": _CODES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.nbytes],
        }
        offset += tensor.nbytes
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _hash_position(header: bytes) -> int:
    return header.index(f'"{HASH_KEY}":"{_NO_HASH}"'.encode()) + len(HASH_KEY) + 4


def _data_start(path: Path) -> int:
    with path.open("rb") as file:
        return 8 + int.from_bytes(file.read(8), "little")


def _read_json(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length + 8 > path.stat().st_size:
            message = "its header is cut off"
            raise ValueError(message)
        header: dict[str, Any] = json.loads(file.read(length))
    return header


def _stored(path: Path, name: str, facts: Mapping[str, Any]) -> StoredTensor:
    tensor = StoredTensor(name, tuple(facts["shape"]), _DTYPES[facts["dtype"]], lambda: _read_tensor(path, name))
    start, end = facts["data_offsets"]
    if end - start != tensor.nbytes:
        message = f"`{name}` has {end - start} bytes, {tensor.nbytes} belong there"
        raise ValueError(message)
    return tensor


def _read_tensor(path: Path, name: str) -> Tensor:
    # Deferred: only those who read such files need the library.
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        tensor: Tensor = file.get_tensor(name)
    return tensor
