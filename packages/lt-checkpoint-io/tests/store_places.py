"""Places in stores that behave like paths, and what reaches a server on this machine."""

from typing import Any

import fsspec


class StorePath:
    """A URL with as much of `pathlib.Path` as the conformance suite asks for; hidden entries are listed, too."""

    def __init__(self, url: str, options: dict[str, Any] | None = None) -> None:
        self.url, self.options = url, options or {}

    def __fspath__(self) -> str:
        return self.url

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def parent(self) -> "StorePath":
        return StorePath(self.url.rpartition("/")[0], self.options)

    def file(self, name: str) -> "StorePath":
        return StorePath(f"{self.url}/{name}", self.options)

    def with_name(self, name: str) -> "StorePath":
        return self.parent.file(name)

    def exists(self) -> bool:
        return self.name in {entry.name for entry in self.parent.iterdir()}

    def read_bytes(self) -> bytes:
        with fsspec.open(self.url, "rb", **self.options) as file:
            content: bytes = file.read()
        return content

    def write_bytes(self, content: bytes) -> None:
        with fsspec.open(self.url, "wb", **self.options) as file:
            file.write(content)

    def iterdir(self) -> list["StorePath"]:
        store, key = fsspec.core.url_to_fs(self.url, **self.options)
        store.invalidate_cache()
        try:
            names = store.ls(key, detail=False)
        except FileNotFoundError:
            return []
        return [self.file(name.rpartition("/")[2]) for name in names]


def s3_options(endpoint: str) -> dict[str, Any]:
    """Return storage options for an endpoint on this machine that is asked once and answers at once."""
    retries = {"max_attempts": 0}
    return {
        "key": "testing",
        "secret": "testing",
        "endpoint_url": endpoint,
        "config_kwargs": {"retries": retries, "connect_timeout": 5, "read_timeout": 5},
    }
