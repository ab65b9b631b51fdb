import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lt_interfaces import commit, temporaries
from lt_interfaces.commit import (
    MANIFEST_NAME,
    commit_file,
    commit_folder,
    commit_text,
    is_whole,
    recover_folder,
    remove_committed,
)

# Every call of the system that a commit makes passes one of these functions. The child stops before the N-th one, says
# so and waits to be killed.
CHILD = """
import os, shutil, sys, time
from pathlib import Path
from lt_interfaces import commit, temporaries
target, kind, stop_at, exchange = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4] == "exchange"
count = 0

def stopping(function):
    def stopped(*args, **kwargs):
        global count
        count += 1
        if count == stop_at:
            print("stopped", flush=True)
            time.sleep(60)
        return function(*args, **kwargs)
    return stopped

os.fsync, os.replace, shutil.rmtree = stopping(os.fsync), stopping(os.replace), stopping(shutil.rmtree)
commit._exchange = stopping(commit._exchange) if exchange else lambda one, other: False
step = stopping(lambda: None)
if kind == "file":
    with commit.commit_file(target) as file:
        step()
        file.write(b"new" * 1000)
        step()
else:
    with commit.commit_folder(target) as folder:
        step()
        (folder / "a").write_bytes(b"new" * 1000)
        step()
        (folder / "sub").mkdir()
        (folder / "sub" / "b").write_bytes(b"new" * 1000)
        step()
print("done", flush=True)
"""


def kill_at_every_moment(
    target: Path, kind: str, way: str = "exchange", write_old: Callable[[Path], None] = lambda target: None
) -> int:
    """Kill a writer before its N-th step for growing N, check after each, and return how many moments there were."""
    for moment in range(1, 40):
        write_old(target)
        command = [sys.executable, "-c", CHILD, str(target), kind, str(moment), way]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            said = child.stdout.readline().strip()
            child.send_signal(signal.SIGKILL)
        recover_folder(target)
        assert is_whole(target, hashes=True), f"torn before step {moment}"
        content = target / "a" if target.is_dir() else target
        assert content.read_bytes() in (b"old", b"new" * 1000)
        if said == "done":
            assert content.read_bytes() == b"new" * 1000
            return moment - 1
    pytest.fail("the writer never came to its end")


def write_old_folder(target: Path) -> None:
    with commit_folder(target) as folder:
        (folder / "a").write_bytes(b"old")


@pytest.fixture
def light_child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let children load the commit module without the package's front, which would import torch at every kill."""
    package = tmp_path / "alone" / "lt_interfaces"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for module in (commit, temporaries):
        source = Path(module.__file__)
        (package / source.name).write_bytes(source.read_bytes())
    monkeypatch.setenv("PYTHONPATH", str(package.parent))


@pytest.mark.usefixtures("light_child")
def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    target = tmp_path / "model.ckpt"
    commit_text(target, "old")
    assert kill_at_every_moment(target, "file") >= 5


@pytest.mark.usefixtures("light_child")
@pytest.mark.parametrize("way", ["exchange", "two renames"])
def test_a_kill_at_any_moment_leaves_a_whole_folder(tmp_path: Path, way: str) -> None:
    target = tmp_path / "model.ckpt"
    write_old_folder(target)
    assert kill_at_every_moment(target, "folder", way) >= 10


def write_old_file(target: Path) -> None:
    remove_committed(target)
    commit_text(target, "old")


@pytest.mark.usefixtures("light_child")
@pytest.mark.parametrize("way", ["exchange", "two renames"])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_kill_while_one_kind_replaces_the_other_leaves_the_old_or_the_new_whole(
    tmp_path: Path, kind: str, way: str
) -> None:
    write_old = write_old_folder if kind == "file" else write_old_file
    assert kill_at_every_moment(tmp_path / "model.ckpt", kind, way, write_old) >= 6


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "model.ckpt"
    commit_text(target, "old")

    def write_half() -> None:
        with commit_file(target) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_failed_folder_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "model.ckpt"
    write_old_folder(target)

    def write_half() -> None:
        with commit_folder(target) as folder:
            (folder / "a").write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert (target / "a").read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_replaces_a_folder_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool) -> None:
    if not exchange:
        monkeypatch.setattr(commit, "_exchange", lambda one, other: False)
    target = tmp_path / "model.ckpt"
    commit_text(target, "full checkpoint")
    for content in (b"first", b"second"):
        with commit_folder(target) as folder:
            (folder / "a").write_bytes(content)
        assert (target / "a").read_bytes() == content
        assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("exchange", [True, False])
def test_a_file_replaces_a_folder_that_was_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr(commit, "_exchange", lambda one, other: False)
    write_old_folder(tmp_path / "model.ckpt")
    commit_text(tmp_path / "model.ckpt", "full checkpoint")
    assert (tmp_path / "model.ckpt").read_text() == "full checkpoint"
    assert list(tmp_path.iterdir()) == [tmp_path / "model.ckpt"]


def test_a_file_that_fails_leaves_the_folder_in_its_place(tmp_path: Path) -> None:
    write_old_folder(tmp_path / "model.ckpt")
    with pytest.raises(KeyboardInterrupt), commit_file(tmp_path / "model.ckpt"):
        raise KeyboardInterrupt
    assert is_whole(tmp_path / "model.ckpt", hashes=True)
    assert list(tmp_path.iterdir()) == [tmp_path / "model.ckpt"]


def test_a_file_never_replaces_any_other_folder(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt").mkdir()
    with pytest.raises(IsADirectoryError, match=r"model\.ckpt"), commit_file(tmp_path / "model.ckpt"):
        pytest.fail("the block must not run")


def test_missing_folders_are_made(tmp_path: Path) -> None:
    commit_text(tmp_path / "a" / "b" / "c.txt", "höhe\n")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == "höhe\n".encode()


def test_a_very_long_name_is_written(tmp_path: Path) -> None:
    target = tmp_path / ("x" * 255)
    commit_text(target, "text")
    assert target.read_text() == "text"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_missing_permission_surfaces(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError), commit_file(tmp_path / "model.ckpt"):
        pytest.fail("the block must not run")


def test_permission_error_while_renaming_surfaces_under_the_targets_name_and_cleans_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, _: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", source)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError, match=r"Permission denied: '.*/model\.ckpt'"):
        commit_text(tmp_path / "model.ckpt", "new")
    assert not list(tmp_path.iterdir())


def is_whole_when_cut(target: Path, length: int) -> bool:
    os.truncate(target, length)
    return is_whole(target)


def test_errors_of_other_files_keep_their_names(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"source\.bin"), commit_file(tmp_path / "model.ckpt"):
        (tmp_path / "source.bin").read_bytes()
    assert not list(tmp_path.iterdir())


def test_a_torn_torch_file_is_recognised_at_every_length(tmp_path: Path) -> None:
    target = tmp_path / "model.ckpt"
    torch.save({"weight": torch.zeros(10)}, target)
    assert is_whole(target)
    whole_at = [length for length in reversed(range(target.stat().st_size)) if is_whole_when_cut(target, length)]
    assert not whole_at


def test_a_torn_file_that_ends_in_another_archive_is_recognised(tmp_path: Path) -> None:
    inner, target = BytesIO(), tmp_path / "model.ckpt"
    torch.save({"weight": torch.zeros(10)}, inner)
    archive = inner.getvalue()
    torch.save({"exported": torch.frombuffer(bytearray(archive), dtype=torch.uint8), "bias": torch.ones(10)}, target)
    content = target.read_bytes()
    assert is_whole(target)
    # The comment at the end of an archive may be of any length, so look at what follows the inner one, too.
    end = content.index(archive) + len(archive)
    for length in range(end + 70, end - 1, -1):
        assert not is_whole_when_cut(target, length), length


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=6))
def test_damage_of_the_directory_is_answered_not_raised(
    tmp_path_factory: pytest.TempPathFactory, damages: list[tuple[int, int]]
) -> None:
    target = tmp_path_factory.mktemp("damage") / "model.ckpt"
    torch.save({"weight": torch.zeros(10)}, target)
    content = bytearray(target.read_bytes())
    for from_end, byte in damages:
        content[-1 - from_end] = byte
    target.write_bytes(content)
    assert is_whole(target) in (True, False)


def test_other_files_are_whole_unless_empty_or_missing(tmp_path: Path) -> None:
    target = tmp_path / "hparams.yaml"
    assert not is_whole(target)
    target.touch()
    assert not is_whole(target)
    target.write_text("a: 1")
    assert is_whole(target)


names = st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=3).map("/".join)


@settings(max_examples=25, deadline=None)
@given(contents=st.dictionaries(names, st.binary(max_size=20), max_size=5), data=st.data())
def test_manifest_lists_exactly_what_was_written_and_notices_any_damage(
    tmp_path_factory: pytest.TempPathFactory, contents: dict[str, bytes], data: st.DataObject
) -> None:
    files = {f"{name}.bin": content for name, content in contents.items()}
    target = tmp_path_factory.mktemp("manifest") / "checkpoint"
    with commit_folder(target) as folder:
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    listed = json.loads((target / MANIFEST_NAME).read_text())["files"]
    assert {name: facts["size"] for name, facts in listed.items()} == {n: len(c) for n, c in files.items()}
    assert is_whole(target, hashes=True)
    if files:
        damaged = target / data.draw(st.sampled_from(sorted(files)))
        content = damaged.read_bytes()
        damaged.write_bytes(content + b"x")
        assert not is_whole(target)
        damaged.write_bytes(bytes(255 - byte for byte in content))
        assert is_whole(target)
        assert is_whole(target, hashes=True) is not bool(content)
        damaged.unlink()
        assert not is_whole(target)


@pytest.mark.parametrize("manifest", ["", "[]", "{}", '{"files": 3}', '{"files": {"a": {}}}'])
def test_a_folder_without_a_complete_manifest_is_not_whole(tmp_path: Path, manifest: str) -> None:
    target = tmp_path / "checkpoint"
    write_old_folder(target)
    (target / MANIFEST_NAME).write_text(manifest)
    assert not is_whole(target)
    (target / MANIFEST_NAME).unlink()
    assert not is_whole(target)


def test_removal_leaves_nothing_and_may_be_repeated(tmp_path: Path) -> None:
    write_old_folder(tmp_path / "folder")
    commit_text(tmp_path / "file", "text")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("folder", "file", "link", "folder"):
        remove_committed(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_removing_a_link_keeps_what_it_points_to(tmp_path: Path) -> None:
    write_old_folder(tmp_path / "folder")
    (tmp_path / "last.ckpt").symlink_to(tmp_path / "folder")
    remove_committed(tmp_path / "last.ckpt")
    assert is_whole(tmp_path / "folder")


def test_recovery_keeps_the_new_version_when_both_are_there(tmp_path: Path) -> None:
    write_old_folder(tmp_path / "folder")
    (tmp_path / ".folder.previous").mkdir()
    recover_folder(tmp_path / "folder")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]
    assert is_whole(tmp_path / "folder")


def test_a_failed_second_rename_puts_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "folder"
    write_old_folder(target)
    rename, calls = os.replace, []

    def fail_second(source: Path, destination: Path) -> None:
        calls.append(source)
        if len(calls) == 2:
            raise PermissionError
        rename(source, destination)

    monkeypatch.setattr(commit, "_exchange", lambda one, other: False)
    monkeypatch.setattr(os, "replace", fail_second)
    with pytest.raises(PermissionError), commit_folder(target):
        pass
    assert list(tmp_path.iterdir()) == [target]
    assert (target / "a").read_bytes() == b"old"


def test_a_file_replaces_a_link_to_a_folder_and_keeps_the_folder(tmp_path: Path) -> None:
    write_old_folder(tmp_path / "folder")
    (tmp_path / "last.ckpt").symlink_to(tmp_path / "folder")
    commit_text(tmp_path / "last.ckpt", "text")
    assert (tmp_path / "last.ckpt").read_text() == "text"
    assert is_whole(tmp_path / "folder")
