import _thread
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import fsspec
import pytest
import torch
from failing_endpoints import CutProxy, DyingStore, Killed
from store_places import StorePath, s3_options

from lt_checkpoint_io import TorchCheckpointIO

SMALL, LARGE = ({"epoch": epoch, "weight": torch.full((size,), 1.0)} for epoch, size in ((1, 1000), (2, 500_000)))


@pytest.fixture
def checkpoint_io(s3_options_of_server: dict[str, Any]) -> TorchCheckpointIO:
    return TorchCheckpointIO(s3_options_of_server)


@pytest.fixture
def path(s3_folder: StorePath) -> StorePath:
    return s3_folder.file("last.ckpt")


@pytest.fixture
def dying_store() -> Iterator[type[DyingStore]]:
    fsspec.register_implementation("dying", DyingStore, clobber=True)
    DyingStore.store.clear()
    DyingStore.changes_left = float("inf")
    yield DyingStore
    DyingStore.changes_left = float("inf")


def names(folder: StorePath) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def temporary(entries: list[str]) -> list[str]:
    return [name for name in entries if name.endswith(".tmp")]


# --- a kill ---


def test_a_kill_before_any_change_leaves_the_old_checkpoint_whole_or_the_new_one(dying_store: type[DyingStore]) -> None:
    checkpoint_io, path = TorchCheckpointIO(), "dying://run/last.ckpt"
    seen = []
    for kills in range(100):
        dying_store.changes_left = float("inf")
        checkpoint_io.save_checkpoint(SMALL, path)
        dying_store.changes_left = kills
        try:
            checkpoint_io.save_checkpoint(LARGE, path)
            break
        except Killed:
            assert checkpoint_io.is_whole(path), kills
            assert [found.path for found in checkpoint_io.stored("dying://run")] == [path]
            seen.append(checkpoint_io.load_checkpoint(path)["epoch"])
    assert len(seen) > 10
    assert set(seen) == {1, 2}
    assert seen == sorted(seen)


def test_the_first_save_is_there_as_a_whole_or_not_at_all(dying_store: type[DyingStore]) -> None:
    checkpoint_io = TorchCheckpointIO()
    for kills in range(100):
        path = f"dying://run{kills}/last.ckpt"
        dying_store.changes_left = kills
        try:
            checkpoint_io.save_checkpoint(SMALL, path)
            break
        except Killed:
            dying_store.changes_left = float("inf")
        is_there = checkpoint_io.stored(f"dying://run{kills}") != []
        assert checkpoint_io.is_whole(path) == is_there
        if is_there:
            assert checkpoint_io.load_checkpoint(path)["epoch"] == 1
    assert kills > 5


def test_a_kill_during_a_removal_leaves_a_whole_checkpoint_or_nothing(dying_store: type[DyingStore]) -> None:
    checkpoint_io, path = TorchCheckpointIO(), "dying://run/last.ckpt"
    for kills in range(3):
        dying_store.changes_left = float("inf")
        checkpoint_io.save_checkpoint(SMALL, path)
        dying_store.changes_left = kills
        try:
            checkpoint_io.remove_checkpoint(path)
            break
        except Killed:
            assert checkpoint_io.load_checkpoint(path)["epoch"] == 1
            assert checkpoint_io.is_whole(path)
    assert kills == 2
    assert names(StorePath("dying://run")) == []


def test_what_another_tool_puts_in_place_of_a_removed_checkpoint_is_not_condemned(
    dying_store: type[DyingStore],
) -> None:
    checkpoint_io, path = TorchCheckpointIO(), StorePath("dying://run/last.ckpt")
    for kills in range(3):
        dying_store.changes_left = float("inf")
        checkpoint_io.save_checkpoint(SMALL, path)
        dying_store.changes_left = kills
        with suppress(Killed):
            checkpoint_io.remove_checkpoint(path)
        dying_store.changes_left = float("inf")
        if not path.exists():
            path.write_bytes(b"legacy format")
            assert checkpoint_io.is_whole(path)


_SAVE_FOREVER = """
import sys
import torch
from lt_checkpoint_io import TorchCheckpointIO
path, options = sys.argv[1], eval(sys.argv[2])
checkpoint_io = TorchCheckpointIO(options)
for epoch in range(10_000):
    checkpoint_io.save_checkpoint({"epoch": epoch, "weight": torch.full((300_000 + 7 * epoch,), float(epoch))}, path)
    print(epoch, flush=True)
"""


def test_sigkill_during_uploads_leaves_a_whole_checkpoint_no_older_than_the_last_committed(
    checkpoint_io: TorchCheckpointIO, path: StorePath, s3_options_of_server: dict[str, Any]
) -> None:
    for saves, delay_seconds in ((2, 0.0), (3, 0.02), (4, 0.05)):
        command = [sys.executable, "-c", _SAVE_FOREVER, str(path), repr(s3_options_of_server)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as saver:
            assert saver.stdout is not None
            committed = [int(saver.stdout.readline()) for _ in range(saves)][-1]
            threading.Event().wait(delay_seconds)
            os.kill(saver.pid, signal.SIGKILL)
        assert checkpoint_io.is_whole(path)
        loaded = checkpoint_io.load_checkpoint(path)
        assert loaded["epoch"] >= committed
        assert torch.equal(loaded["weight"], torch.full((300_000 + 7 * loaded["epoch"],), float(loaded["epoch"])))


# --- a failing store ---


def test_a_store_that_goes_away_at_any_moment_of_a_save_is_named_and_a_whole_checkpoint_is_left(
    checkpoint_io: TorchCheckpointIO, path: StorePath, s3_server: str
) -> None:
    checkpoint_io.save_checkpoint(SMALL, path)
    counter = CutProxy(s3_server, 1 << 40)
    TorchCheckpointIO(s3_options(counter.endpoint)).save_checkpoint(LARGE, path)
    seen = []
    for bytes_until_cut in (0, 3_000, 200_000, *range(counter.passed_on - 8_000, counter.passed_on - 1_500, 900)):
        checkpoint_io.save_checkpoint(SMALL, path)
        proxy = CutProxy(s3_server, bytes_until_cut)
        with pytest.raises(OSError, match=rf"{re.escape(str(path))}` can't be (written|looked at)"):
            TorchCheckpointIO(s3_options(proxy.endpoint)).save_checkpoint(LARGE, path)
        assert proxy.was_cut
        assert checkpoint_io.is_whole(path)
        seen.append(checkpoint_io.load_checkpoint(path)["epoch"])
    assert seen == sorted(seen)
    assert set(seen) == {1, 2}


def test_an_upload_in_parts_that_is_cut_leaves_the_old_checkpoint(
    checkpoint_io: TorchCheckpointIO, path: StorePath, s3_server: str
) -> None:
    checkpoint_io.save_checkpoint(SMALL, path)
    proxy = CutProxy(s3_server, 6_000_000)
    options = {**s3_options(proxy.endpoint), "default_block_size": 5 << 20}
    with pytest.raises(OSError, match=r"last\.ckpt` can't be written"):
        TorchCheckpointIO(options).save_checkpoint({"weight": torch.ones(3_000_000)}, path)
    assert checkpoint_io.load_checkpoint(path)["epoch"] == 1
    assert names(path.parent) == [".last.ckpt.manifest.json", "last.ckpt"]


def test_an_interrupted_upload_in_parts_is_dropped(
    checkpoint_io: TorchCheckpointIO, path: StorePath, s3_server: str, s3_options_of_server: dict[str, Any]
) -> None:
    checkpoint_io.save_checkpoint(SMALL, path)
    proxy = CutProxy(s3_server, 6_000_000, instead=_thread.interrupt_main)
    options = {**s3_options(proxy.endpoint), "default_block_size": 5 << 20}
    with pytest.raises(KeyboardInterrupt):
        TorchCheckpointIO(options).save_checkpoint({"weight": torch.ones(6_000_000)}, path)
    assert checkpoint_io.load_checkpoint(path)["epoch"] == 1
    assert names(path.parent) == [".last.ckpt.manifest.json", "last.ckpt"]
    assert pending_uploads(path, s3_options_of_server) == []


def pending_uploads(path: StorePath, options: dict[str, Any]) -> list[Any]:
    answer = fsspec.filesystem("s3", **options).call_s3("list_multipart_uploads", Bucket=str(path).split("/")[2])
    uploads: list[Any] = answer.get("Uploads", [])
    return uploads


def test_a_store_that_goes_away_during_a_load_is_named(
    checkpoint_io: TorchCheckpointIO, path: StorePath, s3_server: str
) -> None:
    checkpoint_io.save_checkpoint(SMALL, path)
    proxy = CutProxy(s3_server, 0)
    for ask in (TorchCheckpointIO.load_checkpoint, TorchCheckpointIO.is_whole):
        with pytest.raises(OSError, match=r"last\.ckpt` can't be"):
            ask(TorchCheckpointIO(s3_options(proxy.endpoint)), path)


def test_a_missing_bucket_is_named_and_not_made(
    checkpoint_io: TorchCheckpointIO, s3_options_of_server: dict[str, Any]
) -> None:
    with pytest.raises(OSError, match=r"s3://nobodys-bucket/last\.ckpt` can't be written.*bucket"):
        checkpoint_io.save_checkpoint(SMALL, "s3://nobodys-bucket/last.ckpt")
    assert not fsspec.filesystem("s3", **s3_options_of_server).exists("nobodys-bucket")
    assert checkpoint_io.stored("s3://nobodys-bucket") == []
    assert not checkpoint_io.is_whole("s3://nobodys-bucket/last.ckpt")


def test_a_checkpoint_that_cannot_be_pickled_leaves_nothing_behind(
    checkpoint_io: TorchCheckpointIO, path: StorePath
) -> None:
    checkpoint_io.save_checkpoint(SMALL, path)
    with pytest.raises(Exception, match=r"pickle|local"):
        checkpoint_io.save_checkpoint({**LARGE, "function": lambda: None}, path)
    assert checkpoint_io.load_checkpoint(path)["epoch"] == 1
    assert names(path.parent) == [".last.ckpt.manifest.json", "last.ckpt"]


# --- what's whole ---


def test_an_object_that_somebody_cut_off_is_not_whole(checkpoint_io: TorchCheckpointIO, path: StorePath) -> None:
    checkpoint_io.save_checkpoint(SMALL, path)
    path.write_bytes(path.read_bytes()[:-1])
    assert not checkpoint_io.is_whole(path)
    with pytest.raises(UnpicklingError, match=r"last\.ckpt` is damaged"):
        checkpoint_io.load_checkpoint(path)


def test_what_was_replaced_is_no_longer_accepted(checkpoint_io: TorchCheckpointIO, path: StorePath) -> None:
    checkpoint_io.save_checkpoint(SMALL, path)
    replaced = path.read_bytes()
    checkpoint_io.save_checkpoint(LARGE, path)
    path.write_bytes(replaced)
    assert not checkpoint_io.is_whole(path)


def test_what_another_process_did_since_is_seen(
    checkpoint_io: TorchCheckpointIO, path: StorePath, s3_options_of_server: dict[str, Any]
) -> None:
    checkpoint_io.save_checkpoint(SMALL, path)
    other_process = TorchCheckpointIO({**s3_options_of_server, "skip_instance_cache": True})
    assert len(checkpoint_io.stored(path.parent)) == 1
    other_process.save_checkpoint(SMALL, path.with_name("more.ckpt"))
    other_process.save_checkpoint(LARGE, path)
    assert checkpoint_io.is_whole(path)
    assert len(checkpoint_io.stored(path.parent)) == 2


def test_a_flipped_bit_is_found_when_it_is_loaded(checkpoint_io: TorchCheckpointIO, path: StorePath) -> None:
    checkpoint_io.save_checkpoint(SMALL, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(UnpicklingError, match=r"last\.ckpt` is damaged.*changed since"):
        checkpoint_io.load_checkpoint(path)


def test_objects_of_other_tools_are_judged_by_their_own_form(
    checkpoint_io: TorchCheckpointIO, path: StorePath, tmp_path: Path
) -> None:
    torch.save(SMALL, tmp_path / "a.ckpt")
    content = (tmp_path / "a.ckpt").read_bytes()
    path.write_bytes(content)
    assert checkpoint_io.is_whole(path)
    assert checkpoint_io.load_checkpoint(path)["epoch"] == 1
    path.write_bytes(content[:-100])
    assert not checkpoint_io.is_whole(path)
    with pytest.raises(UnpicklingError, match=re.escape(f"`{path}` is damaged")):
        checkpoint_io.load_checkpoint(path)


def test_a_torn_object_is_replaced_and_never_accepted(dying_store: type[DyingStore]) -> None:
    checkpoint_io, path = TorchCheckpointIO(), StorePath("dying://run/last.ckpt")
    for kills in range(100):
        dying_store.changes_left = float("inf")
        path.write_bytes(b"PK\x03\x04 torn")
        dying_store.changes_left = kills
        try:
            checkpoint_io.save_checkpoint(SMALL, path)
            break
        except Killed:
            dying_store.changes_left = float("inf")
            assert checkpoint_io.is_whole(path) == (path.read_bytes() != b"PK\x03\x04 torn")
    assert checkpoint_io.is_whole(path)


def test_whoever_reads_while_it_is_replaced_sees_a_whole_checkpoint(
    checkpoint_io: TorchCheckpointIO, path: StorePath
) -> None:
    checkpoint_io.save_checkpoint(SMALL, path)
    is_over = threading.Event()

    def save_again_and_again() -> None:
        for number in range(15):
            checkpoint_io.save_checkpoint({"epoch": number, "weight": torch.ones(1000 + 1000 * number)}, path)
        is_over.set()

    saver = threading.Thread(target=save_again_and_again)
    saver.start()
    looks = 0
    while not is_over.is_set():
        assert checkpoint_io.is_whole(path)
        # s3fs may say that what it began to read was replaced; what was read to its end must be whole.
        with suppress(OSError):
            assert "epoch" in checkpoint_io.load_checkpoint(path)
            looks += 1
    saver.join()
    assert looks > 3


# --- memory ---

_SAVE_LARGE = """
import resource
import sys
import torch
from lt_checkpoint_io import TorchCheckpointIO
path, options = sys.argv[1], eval(sys.argv[2])
checkpoint_io = TorchCheckpointIO(options)
checkpoint_io.save_checkpoint({"weight": torch.ones(1_000_000)}, path)
checkpoint = {"weight": torch.ones(25_000_000)}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
checkpoint_io.save_checkpoint(checkpoint, path)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory in Linux's unit")
def test_an_upload_holds_a_few_parts_in_memory_never_a_tensor(
    path: StorePath, s3_options_of_server: dict[str, Any]
) -> None:
    options = {**s3_options_of_server, "default_block_size": 5 << 20}
    command = [sys.executable, "-c", _SAVE_LARGE, str(path), repr(options)]
    kibibytes = int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=100).stdout)
    assert kibibytes < 30 << 10  # of 100 MB
