"""Hundreds of processes are killed while they save, and nothing that was committed is lost or torn."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lt_fabric import Fabric
from lt_interfaces.commit import commit_text, is_whole
from lt_interfaces.torch_file import load_torch_file

SERVER = Path(__file__).with_name("doomed_savers.py")
MEMORY = Path("/dev/shm")
KILLS_OF_SAVES = {"bytes": 50, "call": 8, "seconds": 8}
KILLS_OF_FITS = {"bytes": 12, "call": 6, "seconds": 6}
SLOWEST_SECONDS = 0.06
CALLS_OF_TWO_SAVES = 6
LOCAL = "lt_fabric.local_checkpoint:LocalCheckpointIO"
ASYNC = "lt_checkpoint_io:AsyncCheckpointIO"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kills by limits that Linux has")

Ask = Callable[..., dict[str, Any]]


@pytest.fixture(params=["on disk", "in memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Return a folder for checkpoints; temporary files of the process are on another file system."""
    if not MEMORY.is_dir() or MEMORY.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system at /dev/shm")
    elsewhere = Path(tempfile.mkdtemp(dir=MEMORY))
    yield tmp_path / "checkpoints" if request.param == "on disk" else elsewhere / "checkpoints"
    shutil.rmtree(elsewhere)


@pytest.fixture
def ask(folder: Path, tmp_path: Path) -> Iterator[Ask]:
    """Return what has a process save into the folder until it's killed."""
    other = tmp_path if MEMORY in folder.parents else MEMORY
    with tempfile.TemporaryDirectory(dir=other) as temporary:
        environment = os.environ | {"TMPDIR": temporary, "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(
            [sys.executable, str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        ) as server:
            assert server.stdin is not None
            assert server.stdout is not None
            reading, writing = server.stdout, server.stdin

            def order(**words: Any) -> dict[str, Any]:
                writing.write(json.dumps({"folder": str(folder), **words}) + "\n")
                writing.flush()
                answer: dict[str, Any] = json.loads(reading.readline())
                assert answer["signal"] in (-signal.SIGKILL, -signal.SIGXFSZ), answer
                return answer

            yield order
            writing.close()


def ways_to_die(kills_per_way: dict[str, int], size: int) -> list[tuple[str, float]]:
    """Return how to kill, in random order; which one it was shows in the failed test's variables."""
    chance = random.Random(size)
    amounts = {
        "bytes": lambda: chance.randrange(size),
        "call": lambda: chance.randint(1, CALLS_OF_TWO_SAVES),
        "seconds": lambda: chance.uniform(0, SLOWEST_SECONDS),
    }
    ways = [(way, amounts[way]()) for way, kills in kills_per_way.items() for _ in range(kills)]
    chance.shuffle(ways)
    return ways


def checkpoints_in(folder: Path) -> dict[str, dict[str, Any]]:
    """Load every checkpoint in a folder; a torn one fails the test."""
    paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    assert all(is_whole(path) for path in paths)
    return {path.name: load_torch_file(path) for path in paths}


def unfinished(folder: Path) -> list[int]:
    """Return the sizes of files that were never finished; empty ones are left alone for a minute, and here too."""
    hidden = [path.stat().st_size for path in folder.iterdir() if path.name.startswith(".")]
    return [size for size in hidden if size]


@pytest.mark.parametrize("checkpoint_io", [LOCAL, ASYNC], ids=["local", "async"])
def test_a_killed_save_leaves_every_committed_checkpoint_whole(ask: Ask, folder: Path, checkpoint_io: str) -> None:
    ask(checkpoint_io=checkpoint_io, first=0, way="call", amount=50)
    size = (folder / "last.ckpt").stat().st_size
    newest, torn_at = load_torch_file(folder / "last.ckpt")["number"], set()
    for way, amount in ways_to_die(KILLS_OF_SAVES, size):
        answer = ask(checkpoint_io=checkpoint_io, first=newest + 1, way=way, amount=amount)
        committed = answer["said"][-1]
        found = checkpoints_in(folder)
        newest = found["last.ckpt"]["number"]
        assert newest in (committed, committed + 1, committed + 2), (way, amount)
        assert {f"number={number}.ckpt" for number in range(max(committed - 1, 0), committed + 1)} <= set(found)
        for name, content in found.items():
            assert name in ("last.ckpt", f"number={content['number']}.ckpt")
            expected = torch.arange(len(content["weight"]), dtype=torch.float32) * content["number"]
            assert torch.equal(content["weight"], expected)
            assert torch.equal(content["momentum"], expected)
        torn_at |= set(unfinished(folder))
        assert len(unfinished(folder)) <= 1
    assert len(torn_at) >= KILLS_OF_SAVES["bytes"] - 3  # the kills did hit saves, at so many different bytes
    commit_text(folder / "note.txt", "the next commit of a run cleans up")
    assert not unfinished(folder)


def test_a_killed_fit_goes_on_from_its_last_step(ask: Ask, folder: Path) -> None:
    ask(checkpoint_io=None, way="call", amount=50)
    size = (folder / "last.ckpt").stat().st_size
    step = load_torch_file(folder / "last.ckpt")["global_step"]
    for way, amount in ways_to_die(KILLS_OF_FITS, size):
        said = ask(checkpoint_io=None, way=way, amount=amount)["said"]
        assert said[0] == step + 1, (way, amount)  # it went on where the one before was killed
        found = checkpoints_in(folder)
        assert found["last.ckpt"]["global_step"] >= said[-1]
        for content in found.values():
            assert bool((content["state_dict"]["weight"] == -content["global_step"]).all())
        step = found["last.ckpt"]["global_step"]
        assert len(unfinished(folder)) <= 1
    fabric = Fabric(accelerator="cpu")
    assert fabric.load(folder / "last.ckpt")["global_step"] == step
