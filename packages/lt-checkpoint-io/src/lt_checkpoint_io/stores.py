"""Remote stores, reached through fsspec: what is a URL, opening a store, and its failures as `OSError`."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

_LOCAL_PROTOCOLS: Final = ("file://", "local://")
_COLLAPSED_URL: Final = re.compile(r"[a-z][a-z0-9+.-]+:/[^/]")
_INSTALL: Final[Mapping[str, str]] = {
    **dict.fromkeys(("s3", "s3a"), "lt-checkpoint-io[s3]"),
    **dict.fromkeys(("gs", "gcs"), "lt-checkpoint-io[gs]"),
    **dict.fromkeys(("abfs", "abfss", "az", "adl"), "lt-checkpoint-io[azure]"),
    **dict.fromkeys(("http", "https"), "aiohttp"),
    **dict.fromkeys(("sftp", "ssh"), "paramiko"),
}


def local_path(path: str | os.PathLike[str]) -> str | None:
    """Return the local path that a path or a ``file://`` URL means; ``None`` for what lies in a remote store.

    Raises:
        ValueError: for a URL that went through `pathlib.Path`, which leaves one of its slashes.

    >>> local_path("/runs/last.ckpt"), local_path("file:///runs/last.ckpt"), local_path("s3://bucket/last.ckpt")
    ('/runs/last.ckpt', '/runs/last.ckpt', None)
    """
    text = os.fspath(path)
    for protocol in _LOCAL_PROTOCOLS:
        if text.startswith(protocol):
            return text.removeprefix(protocol)
    if "://" in text:
        return None
    if _COLLAPSED_URL.match(text):
        message = f"`{text}` is what `pathlib.Path` makes of a URL. Pass URLs as strings, with `://`."
        raise ValueError(message)
    return text


def open_store(url: str, storage_options: Mapping[str, Any]) -> tuple[Any, str]:
    """Return fsspec's file system of a URL, which has no types, and the URL's key in it; nothing is cached from before.

    Raises:
        ModuleNotFoundError: the package for this protocol isn't installed; with the ``pip install`` line.
        ValueError: fsspec knows no such protocol.
    """
    # Heavy, and not needed for local files.
    import fsspec

    protocol = url.partition("://")[0].partition("::")[0]
    try:
        store, key = fsspec.core.url_to_fs(url, **storage_options)
    except ImportError as error:
        line = f"`pip install {_INSTALL[protocol]}`." if protocol in _INSTALL else f"{error}."
        message = f"`{url}` needs a package for `{protocol}://` that isn't installed: {line}"
        raise ModuleNotFoundError(message) from error
    except ValueError as error:
        message = f"`{url}` can't be opened: {error}"
        raise ValueError(message) from error
    store.invalidate_cache()  # other processes write there, too
    return store, key


def get_filesystem(path: str | os.PathLike[str], **storage_options: Any) -> Any:
    """Return fsspec's file system, which has no types, of a local path or a URL.

    Raises:
        ModuleNotFoundError: the package for this protocol isn't installed; with the ``pip install`` line.
        ValueError: fsspec knows no such protocol.

    >>> get_filesystem("runs/last.ckpt").protocol
    ('file', 'local')
    """
    return open_store(os.fspath(path), storage_options)[0]


@contextmanager
def store_errors(url: str, purpose: str) -> Iterator[None]:
    """Turn whatever a store's library raises into an `OSError` that names the URL; what's missing stays as it is.

    Args:
        url: what's worked on.
        purpose: what couldn't be done, in the form "written".
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        raise store_failure(url, purpose, error) from error


def store_failure(url: str, purpose: str, error: Exception) -> OSError:
    """Return the `OSError` for a failure of a store's library, whatever that raised."""
    kind = PermissionError if isinstance(error, PermissionError) else OSError
    return kind(f"`{url}` can't be {purpose}: {type(error).__name__}: {error}")


def renames(store: Any) -> bool:
    """Say whether a file system has real folders and renames in one step; object stores replace keys by copying."""
    # Heavy, and not needed for local files.
    from fsspec import AbstractFileSystem

    return type(store).mv is not AbstractFileSystem.mv
