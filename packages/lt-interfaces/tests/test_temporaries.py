import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lt_interfaces import temporaries
from lt_interfaces.commit import commit_file, commit_folder, commit_text
from lt_interfaces.temporaries import held, sweep, temporary_beside

WRITER = """
import sys, time
from pathlib import Path
from lt_interfaces import temporaries
temporary = temporaries.temporary_beside(Path(sys.argv[1]))
temporary.write_bytes(b"half")
with temporaries.held(temporary):
    print("holds", flush=True)
    time.sleep(60)
"""
DAY_SECONDS = 24 * 3600


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that is writing, of which only what it needs is imported."""
    package = tmp_path / "alone" / "lt_interfaces"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "temporaries.py").write_bytes(Path(temporaries.__file__).read_bytes())
    command = [sys.executable, "-c", WRITER, str(tmp_path / "run" / "last.ckpt")]
    (tmp_path / "run").mkdir()
    environment = os.environ | {"PYTHONPATH": str(package.parent)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "holds\n"
        yield child
        child.kill()


def leave_behind(target: Path, content: bytes = b"half", age_seconds: float = 0) -> Path:
    """Make what a killed writer leaves."""
    temporary = temporary_beside(target)
    temporary.write_bytes(content)
    written = time.time() - age_seconds
    os.utime(temporary, (written, written))
    return temporary


def test_what_a_killed_writer_left_is_deleted_and_what_a_living_one_writes_is_not(
    writer: subprocess.Popen[str], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    (temporary,) = folder.iterdir()
    commit_text(folder / "epoch=0.ckpt", "other")
    commit_text(folder / "last.ckpt", "same")
    assert temporary.exists()
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    commit_text(folder / "last.ckpt", "same")
    assert sorted(path.name for path in folder.iterdir()) == ["epoch=0.ckpt", "last.ckpt"]


def test_many_killed_saves_leave_nothing_after_the_next_commit(tmp_path: Path) -> None:
    for number in range(20):
        leave_behind(tmp_path / f"step={number}.ckpt")
    commit_text(tmp_path / "last.ckpt", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_folders_are_swept_too(tmp_path: Path) -> None:
    temporary = temporary_beside(tmp_path / "sharded.ckpt")
    temporary.mkdir()
    (temporary / "shard_0").write_bytes(b"half")
    with commit_folder(tmp_path / "sharded.ckpt") as folder:
        assert not temporary.exists()
        (folder / "shard_0").write_bytes(b"whole")
        sweep(tmp_path)
        assert folder.exists()


def test_a_file_is_held_until_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = os.replace

    def sweep_and_rename(source: Path, target: Path) -> None:
        sweep(tmp_path)
        rename(source, target)

    monkeypatch.setattr(os, "replace", sweep_and_rename)
    with commit_file(tmp_path / "last.ckpt") as file:
        file.write(b"whole")
        file.flush()
        sweep(tmp_path)
    assert (tmp_path / "last.ckpt").read_bytes() == b"whole"


def test_an_empty_file_may_be_about_to_be_written(tmp_path: Path) -> None:
    young = leave_behind(tmp_path / "a", content=b"")
    old = leave_behind(tmp_path / "a", content=b"", age_seconds=90)
    sweep(tmp_path)
    assert young.exists()
    assert not old.exists()


def test_what_another_machine_writes_is_left_alone_for_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(temporaries, "_kernel", lambda: "0123abcd")
        young = leave_behind(tmp_path / "a")
        old = leave_behind(tmp_path / "a", age_seconds=2 * DAY_SECONDS)
    sweep(tmp_path)
    assert young.exists()
    assert not old.exists()


def test_nothing_is_deleted_where_there_are_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = leave_behind(tmp_path / "a", age_seconds=2 * DAY_SECONDS)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    sweep(tmp_path)
    with held(old):
        assert old.exists()


@pytest.mark.parametrize("name", [".last.ckpt.tmp", "last.0123.tmp", f".last.{'g' * 32}.tmp", f"last.{'a' * 32}.tmp"])
def test_names_of_others_are_never_touched(tmp_path: Path, name: str) -> None:
    theirs = tmp_path / name
    theirs.write_text("theirs")
    os.utime(theirs, (0, 0))
    sweep(tmp_path)
    assert theirs.exists()


def test_a_name_with_any_characters_is_found_again(tmp_path: Path) -> None:
    leave_behind(tmp_path / "a\nb=1.ckpt")
    sweep(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_gone_is_no_error(tmp_path: Path) -> None:
    sweep(tmp_path / "missing")
    temporaries.delete(tmp_path / "missing")
