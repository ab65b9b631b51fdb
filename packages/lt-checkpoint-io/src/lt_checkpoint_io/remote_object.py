"""One object in a remote store, with the manifest that says what it must hold to be whole."""

import hashlib
import json
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO, Final

from lt_checkpoint_io.stores import open_store, store_errors
from lt_interfaces.commit import is_whole

_CHUNK_BYTES: Final = 1 << 22
_READ_ONLY: Final = {"http", "https"}


@dataclass(frozen=True)
class Content:
    """What an object holds when it's whole."""

    size: int
    sha256: str | None = None
    """``None``: not known, somebody else wrote it."""

    def fits(self, found: "Content") -> bool:
        """Say whether what was found may be this; an unknown hash fits any."""
        return self.size == found.size and (None in (self.sha256, found.sha256) or self.sha256 == found.sha256)


@dataclass(frozen=True)
class RemoteObject:
    """An object and its manifest, the hidden object ``.NAME.manifest.json`` beside it.

    The manifest lists the contents that are whole here: one at rest; the old and the new one while a save replaces the
    object. It's written before the object changes and again afterwards, so whoever looks at manifest, object and
    manifest in this order never takes a whole object for a torn one.

    An object without a manifest (from another tool, or when a kill interrupted its removal) is judged by its own form.
    """

    store: Any  # fsspec has no types
    key: str
    url: str

    @classmethod
    def at(cls, url: str, storage_options: Mapping[str, Any]) -> "RemoteObject":
        """Return the object at a URL, whether it exists or not."""
        store, key = open_store(url, storage_options)
        return cls(store, key, url)

    @property
    def name(self) -> str:
        """The last part of its key."""
        return self.key.rpartition("/")[2]

    def beside(self, name: str) -> str:
        """Return the key of another name in the same folder."""
        folder, slash, _ = self.key.rpartition("/")
        return folder + slash + name

    def size(self) -> int | None:
        """Return how many bytes are there; ``None`` where nothing, or a folder, is."""
        try:
            with store_errors(self.url, "looked at"):
                facts = self.store.info(self.key)
        except FileNotFoundError:
            return None
        return facts["size"] if facts["type"] == "file" else None

    def is_whole(self) -> bool:
        """Say whether the object was written to its end and has the size that its manifest lists."""
        accepted = self.accepted()
        size = self.size()
        if size is None:
            return False
        if accepted is None:
            return self._ends_well(size)
        return self._was_committed(Content(size), accepted)

    def accepted(self) -> list[Content] | None:
        """Return the contents that its manifest lists; ``None`` without a manifest that can be read."""
        if not _READ_ONLY.isdisjoint(_protocols(self.store)):
            return None  # nobody commits there, and a server may answer anything for a name that it doesn't have
        try:
            with store_errors(self.url, "looked at"):
                text = self.store.cat_file(self._manifest_key)
            return [Content(**facts) for facts in json.loads(text)["accepted"]]
        except (FileNotFoundError, PermissionError, ValueError, TypeError, KeyError):
            return None  # stores may answer "forbidden" for a name that they don't have

    def accept(self, contents: Iterable[Content]) -> None:
        """Write the manifest."""
        text = json.dumps({"version": 1, "accepted": [asdict(content) for content in contents]})
        self.store.pipe_file(self._manifest_key, text.encode())

    def whole_now(self) -> list[Content]:
        """Return what the manifest must go on accepting while the object is replaced: what's whole there now."""
        size = self.size()
        if size is None:
            return []
        accepted = self.accepted()
        if accepted is None:
            return [Content(size)] if self._ends_well(size) else []
        return [content for content in accepted if content.size == size]

    def fetch(self, folder: Path) -> Path:
        """Copy the object to a local folder, under its own name, and compare it with its manifest.

        Raises:
            FileNotFoundError: nothing is there.
            UnpicklingError: it isn't what was committed.
            OSError: the store, or the local disk, failed.
        """
        accepted = self.accepted()
        local = folder / self.name
        try:
            with store_errors(self.url, "read"), self.store.open(self.key, "rb") as source, local.open("wb") as copy:
                found = _copied(source, copy)
        except FileNotFoundError as error:
            message = f"There's no checkpoint at `{self.url}`."
            raise FileNotFoundError(message) from error
        if is_whole(local) if accepted is None else self._was_committed(found, accepted):
            return local
        message = f"`{self.url}` is damaged: it was never written to its end, or cut off or changed since."
        raise UnpicklingError(message)

    def remove(self) -> None:
        """Delete manifest and object; nothing there is fine.

        The manifest goes first: a kill in between leaves a checkpoint that's still whole by its own form, whereas a
        manifest without its object would condemn whatever another tool puts there later.
        """
        with store_errors(self.url, "removed"):
            for key in (self._manifest_key, self.key):
                with suppress(FileNotFoundError):
                    self.store.rm_file(key)

    @property
    def _manifest_key(self) -> str:
        return self.beside(f".{self.name}.manifest.json")

    def _was_committed(self, found: Content, accepted_before: Iterable[Content]) -> bool:
        """Say whether the manifest accepts what was found: as it was before the look, or as it is after it."""
        return _fits_any(found, accepted_before) or _fits_any(found, self.accepted() or ())

    def _ends_well(self, size: int) -> bool:
        """Judge an object by its own form, as `lt_interfaces.commit.is_whole` judges a local file."""
        if size == 0:
            return False
        with store_errors(self.url, "looked at"), self.store.open(self.key, "rb") as file:
            if file.read(4) != b"PK\x03\x04":
                return True
            try:
                zipfile.ZipFile(file).close()
            except zipfile.BadZipFile:
                return False
            return True


def _fits_any(found: Content, accepted: Iterable[Content]) -> bool:
    """Say whether what was found is one of the contents that are whole."""
    return any(content.fits(found) for content in accepted)


def _protocols(store: Any) -> set[str]:
    return {store.protocol} if isinstance(store.protocol, str) else set(store.protocol)


def _copied(source: BinaryIO, copy: BinaryIO) -> Content:
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(_CHUNK_BYTES):
        digest.update(chunk)
        size += copy.write(chunk)
    return Content(size, digest.hexdigest())
