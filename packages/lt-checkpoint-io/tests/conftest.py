"""A real S3 endpoint on this machine, and folders in stores."""

import multiprocessing
import sys
import uuid
from collections.abc import Iterator
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from typing import Any

import fsspec
import pytest
from moto.server import ThreadedMotoServer

# Tests here share modules; pytest's importlib mode leaves finding them to us.
sys.path.insert(0, str(Path(__file__).parent))

from store_places import StorePath, s3_options


@pytest.fixture(scope="session")
def forking_server() -> None:
    """Start the server that forks processes, with what takes seconds to import; modules of tests it can't find."""
    names = ["torch.distributed.fsdp", "lt_checkpoint_io", "lt_checkpoint_io.placed_reading", "lt_interfaces.testing"]
    multiprocessing.set_forkserver_preload(names)
    ensure_running()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Return the endpoint of an S3 server that lives as long as the tests."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_options_of_server(s3_server: str) -> dict[str, Any]:
    return s3_options(s3_server)


@pytest.fixture
def s3_folder(s3_options_of_server: dict[str, Any]) -> StorePath:
    """Return a folder in a bucket of its own."""
    bucket = f"bucket-{uuid.uuid4().hex}"
    fsspec.filesystem("s3", **s3_options_of_server).mkdir(bucket)
    return StorePath(f"s3://{bucket}/run", s3_options_of_server)


@pytest.fixture
def memory_folder() -> StorePath:
    return StorePath(f"memory://{uuid.uuid4().hex}/run")


@pytest.fixture
def local_folder(tmp_path: Path) -> Path:
    return tmp_path / "run"
