"""Reads the file that wandb keeps of an offline run: what it would send, record by record."""

import json
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from wandb.proto.wandb_internal_pb2 import Record

_BLOCK = 32768
"""The file is a log in blocks; records don't start in the last bytes of one."""
_HEADER = struct.Struct(
    "<IHB"
)  # checksum, length, and whether it's a whole record (1), or its first, middle or last part


def run_folders(save_dir: Path) -> list[Path]:
    return sorted((save_dir / "wandb").glob("offline-run-*"))


def run_ids(save_dir: Path) -> list[str]:
    return [run.run_id for run in records(save_dir, "run")]


def records(save_dir: Path, kind: str, run_id: str | None = None) -> list[Any]:
    """Return the records of one kind, of one run or of all."""
    files = [file for folder in run_folders(save_dir) for file in folder.glob(f"run-{run_id or '*'}.wandb")]
    return [
        getattr(record, kind)
        for file in files
        for record in _finished(file)
        if record.WhichOneof("record_type") == kind
    ]


def history(save_dir: Path, run_id: str | None = None) -> list[dict[str, Any]]:
    """Return the rows that were logged, without wandb's own columns."""
    rows = [
        {(list(item.nested_key) or [item.key])[0]: _value(row, item) for item in row.item}
        for row in records(save_dir, "history", run_id)
    ]
    return [{name: value for name, value in row.items() if not name.startswith("_")} for row in rows]


def config(save_dir: Path, run_id: str | None = None) -> dict[str, Any]:
    """Return the hyper-parameters as they stand in the end."""
    return {
        entry.key or "/".join(entry.nested_key): json.loads(entry.value_json)
        for record in records(save_dir, "config", run_id)
        for entry in record.update
    }


def _value(row: Any, item: Any) -> Any:
    """Return an item's value; that of one in several parts as a dict."""
    if len(item.nested_key) < 2:
        return json.loads(item.value_json)
    parts = [other for other in row.item if other.nested_key[:1] == item.nested_key[:1]]
    return {part.nested_key[1]: json.loads(part.value_json) for part in parts}


def _finished(file: Path) -> list[Record]:
    """Return the records of a finished run: wandb's service writes the last of them after `finish` has returned."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with suppress(DecodeError):
            found = list(_read(file))
            if any(record.WhichOneof("record_type") == "exit" for record in found):
                return found
        time.sleep(0.05)
    message = f"{file} has no end"
    raise TimeoutError(message)


def _read(file: Path) -> Iterator[Record]:
    raw = file.read_bytes()
    position, record = 7, b""  # behind the file's own header
    while position + _HEADER.size <= len(raw):
        left_in_block = _BLOCK - position % _BLOCK
        if left_in_block < _HEADER.size:
            position += left_in_block
            continue
        _, length, part = _HEADER.unpack_from(raw, position)
        position += _HEADER.size
        record += raw[position : position + length]
        position += length
        if part in (1, 4):
            yield Record.FromString(record)
            record = b""
