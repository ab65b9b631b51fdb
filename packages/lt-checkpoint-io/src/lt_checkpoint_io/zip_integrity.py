"""Checks every byte of a torch file: the CRC of each record, and that headers and directory say the same.

torch writes a plain zip file: for each record a local header with padding, the values uncompressed, and a descriptor
with their CRC; then a directory of all records; then the end records. A reader trusts the directory and never looks at
most of the rest, so here each copy of a fact is compared with the others, and what has no copy with what torch writes.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from lt_checkpoint_io.stored_tensor import Progress

_LOCAL: Final = struct.Struct("<4s5H3I2H")
_ZIP64_END: Final = struct.Struct("<4sQ2H2I4Q")
_ZIP64_LOCATOR: Final = struct.Struct("<4sIQI")
_END: Final = struct.Struct("<4s4H2IH")
_HAS_DESCRIPTOR: Final = 8
_IN_EXTRA: Final = 0xFFFFFFFF
_BLOCK: Final = 1 << 20


def zip_problems(path: Path, progress: Progress) -> Iterator[str]:
    """Read a whole zip file as torch writes it and yield what's wrong with it."""
    try:
        with path.open("rb") as file, ZipFile(file) as archive:
            directory = _Directory(
                sorted(archive.infolist(), key=lambda record: record.header_offset), archive.start_dir
            )
            yield from _record_problems(file, directory, progress)
            yield from _directory_problems(file, archive.comment, directory)
    except (BadZipFile, struct.error, NotImplementedError, ValueError, OverflowError, UnicodeDecodeError) as error:
        yield f"its directory can't be read: {error}"


@dataclass(frozen=True)
class _Directory:
    records: list[ZipInfo]
    start: int

    def end_of(self, position: int) -> int:
        """Return where the record ends: at the next one, or at the directory."""
        following = position + 1
        return self.records[following].header_offset if following < len(self.records) else self.start


def _record_problems(file: BinaryIO, directory: _Directory, progress: Progress) -> Iterator[str]:
    if not directory.records or directory.records[0].header_offset != 0:
        yield "it doesn't begin with a record, or its directory is damaged"
        return
    for position, record in enumerate(directory.records):
        problem = _problem_of(
            file, record, end=directory.end_of(position), progress=lambda done: progress(done, directory.start)
        )
        if problem:
            yield f"record `{record.filename}`: {problem}"


def _problem_of(file: BinaryIO, record: ZipInfo, *, end: int, progress: Callable[[int], None]) -> str | None:
    file.seek(record.header_offset)
    header = _LOCAL.unpack(file.read(_LOCAL.size))
    name, extra = file.read(header[9]), file.read(header[10])
    if not _header_agrees(header, name, record) or not _is_padding(extra, record):
        return "its header and the directory differ"
    if record.compress_type != ZIP_STORED or record.file_size != record.compress_size:
        return "it's compressed, which torch never does"
    checksum, left = 0, record.file_size
    while left:
        block = file.read(min(left, _BLOCK))
        if not block:
            return "it's cut off"
        checksum, left = zlib.crc32(block, checksum), left - len(block)
        progress(file.tell())
    if checksum != record.CRC:
        return "its values have changed (CRC)"
    return (
        None if file.read(max(0, end - file.tell())) in _descriptors(record) else "what follows its values is damaged"
    )


def _header_agrees(header: tuple[bytes | int, ...], name: bytes, record: ZipInfo) -> bool:
    signature, version, flags, method, time, date, checksum, packed, size = header[:9]
    year, month, day, hour, minute, second = record.date_time
    facts = (version, flags, method, date, time)
    listed = (
        record.extract_version,
        record.flag_bits,
        record.compress_type,
        (year - 1980) << 9 | month << 5 | day,
        hour << 11 | minute << 5 | second // 2,
    )
    sizes = (record.CRC, record.compress_size, record.file_size)
    elsewhere = [(record.CRC, _IN_EXTRA, _IN_EXTRA), (0, _IN_EXTRA, _IN_EXTRA)]
    if record.flag_bits & _HAS_DESCRIPTOR:
        elsewhere.append((0, 0, 0))
    return (
        signature == b"PK\x03\x04"
        and facts == listed
        and name == record.orig_filename.encode("utf-8" if record.flag_bits & 0x800 else "cp437")
        and (checksum, packed, size) in (sizes, *elsewhere)
    )


def _is_padding(extra: bytes, record: ZipInfo) -> bool:
    """Say whether a header's extra field holds what torch puts there: sizes of large records, and ``FB`` with ``Z``."""
    while extra:
        tag, length = extra[:2], int.from_bytes(extra[2:4], "little")
        content, extra = extra[4 : 4 + length], extra[4 + length :]
        sizes = struct.pack("<2Q", record.file_size, record.compress_size)
        place = struct.pack("<Q", record.header_offset)
        if len(content) != length or not (
            (tag == b"FB" and not content.strip(b"Z"))
            or (tag == b"\1\0" and content in (sizes, place, sizes[:8] + bytes(8)))
        ):
            return False
    return True


def _descriptors(record: ZipInfo) -> tuple[bytes, ...]:
    """Return what may follow the values: sizes have 4 bytes, or 8 where the record or its place is large."""
    if not record.flag_bits & _HAS_DESCRIPTOR:
        return (b"",)
    large = struct.pack("<4sI2Q", b"PK\x07\x08", record.CRC, record.compress_size, record.file_size)
    if record.file_size > _IN_EXTRA:
        return (large,)
    return large, struct.pack("<4s3I", b"PK\x07\x08", record.CRC, record.compress_size, record.file_size)


def _directory_problems(file: BinaryIO, comment: bytes, directory: _Directory) -> Iterator[str]:
    """Compare what the entries have in common, and the end records with what they must say."""
    if len({_common_facts(record) for record in directory.records}) > 1 or comment:
        yield "the entries of its directory differ in what torch writes the same for all"
    if any(record.comment for record in directory.records):
        yield "its directory has comments, which torch doesn't write"
    file.seek(directory.start)
    tail = file.read()
    length = sum(46 + len(record.orig_filename) + len(record.extra) for record in directory.records)
    if tail[length:] not in _end_records(len(directory.records), length, directory.start):
        yield "its end records and its directory differ"


def _end_records(count: int, length: int, start: int) -> tuple[bytes, ...]:
    """Return what may stand at the end: torch writes the large form always, Python's zipfile only where it must."""
    small = min(count, 0xFFFF), min(count, 0xFFFF), min(length, _IN_EXTRA), min(start, _IN_EXTRA)
    end = _END.pack(b"PK\x05\x06", 0, 0, *small, 0)
    large = b"".join(
        (
            _ZIP64_END.pack(b"PK\x06\x06", 44, 0x031E, 45, 0, 0, count, count, length, start),
            _ZIP64_LOCATOR.pack(b"PK\x06\x07", 0, start + length, 1),
        )
    )
    return large + end, end


def _common_facts(record: ZipInfo) -> tuple[object, ...]:
    return (
        record.create_system,
        record.create_version,
        record.extract_version,
        record.reserved,
        record.flag_bits,
        record.volume,
        record.internal_attr,
        record.external_attr,
        record.date_time,
    )
