from pathlib import Path

import pytest

from lt_callbacks.checkpoint_folder import found_again, free_path, may_remove, point_to


def test_a_taken_name_gets_the_next_version() -> None:
    taken = {"last.ckpt", "last-v1.ckpt"}
    assert free_path("last", ".ckpt", exists=taken.__contains__) == "last-v2.ckpt"
    assert free_path("last", ".ckpt", exists=taken.__contains__, replacing="last-v1.ckpt") == "last-v1.ckpt"


def test_only_files_in_the_folder_may_be_removed(tmp_path: Path) -> None:
    folder = str(tmp_path / "c")
    assert may_remove(str(tmp_path / "c" / "a.ckpt"), folder=folder, resumed_from=None)
    assert may_remove(str(tmp_path / "c" / "sub" / "a.ckpt"), folder=folder, resumed_from=None)
    assert not may_remove(str(tmp_path / "a.ckpt"), folder=folder, resumed_from=None)
    assert not may_remove(str(tmp_path / "c" / ".." / "a.ckpt"), folder=folder, resumed_from=None)
    assert not may_remove(str(tmp_path / "cc" / "a.ckpt"), folder=folder, resumed_from=None)
    assert not may_remove(folder, folder=folder, resumed_from=None)


def test_the_resumed_file_may_not_be_removed_however_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert not may_remove(str(tmp_path / "a.ckpt"), folder=str(tmp_path), resumed_from="a.ckpt")


def test_only_remote_files_in_the_folder_that_were_not_resumed_from_may_be_removed() -> None:
    assert may_remove("s3://bucket/a.ckpt", folder="s3://bucket", resumed_from=None)
    assert may_remove("s3://bucket/run/sub/a.ckpt", folder="s3://bucket/run/", resumed_from="s3://bucket/run/b.ckpt")
    assert not may_remove("s3://bucket/a.ckpt", folder="s3://bucket", resumed_from="s3://bucket/a.ckpt")
    assert not may_remove("s3://bucket/runs/a.ckpt", folder="s3://bucket/run", resumed_from=None)


def test_a_link_replaces_a_file_and_a_folder(tmp_path: Path) -> None:
    (tmp_path / "new.ckpt").write_text("new")
    (tmp_path / "last.ckpt").write_text("old")
    point_to(str(tmp_path / "new.ckpt"), str(tmp_path / "last.ckpt"))
    assert (tmp_path / "last.ckpt").read_text() == "new"
    (tmp_path / "sharded.ckpt").mkdir()
    point_to(str(tmp_path / "new.ckpt"), str(tmp_path / "sharded.ckpt"))
    assert (tmp_path / "sharded.ckpt").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.ckpt", "new.ckpt", "sharded.ckpt"]


def test_where_links_are_impossible_a_copy_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr("os.symlink", refuse)
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "0").write_text("shard")
    (tmp_path / "file").write_text("file")
    point_to(str(tmp_path / "shards"), str(tmp_path / "last"))
    assert (tmp_path / "last" / "0").read_text() == "shard"
    point_to(str(tmp_path / "file"), str(tmp_path / "last2"))
    assert (tmp_path / "last2").read_text() == "file"


def test_a_file_is_found_where_it_was_then_where_its_folder_went(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    new.mkdir()
    (new / "a").touch()
    assert found_again(str(old / "a"), old_folder=str(old), new_folder=str(new)) == str(new / "a")
    old.mkdir()
    (old / "a").touch()
    assert found_again(str(old / "a"), old_folder=str(old), new_folder=str(new)) == str(old / "a")
    assert found_again(str(old / "b"), old_folder=str(old), new_folder=str(new)) is None


def test_a_remote_file_is_found_where_it_was_then_where_its_folder_went() -> None:
    folders = {"old_folder": "s3://a/run", "new_folder": "s3://b/runs/1/"}
    there = {"s3://a/run/both", "s3://b/runs/1/both", "s3://b/runs/1/sub/moved"}.__contains__
    assert found_again("s3://a/run/both", **folders, has_remote=there) == "s3://a/run/both"
    assert found_again("s3://a/run/sub/moved", **folders, has_remote=there) == "s3://b/runs/1/sub/moved"
    assert found_again("s3://a/run/gone", **folders, has_remote=there) is None


def test_checkpoints_are_found_in_a_folder_that_was_uploaded_or_downloaded(tmp_path: Path) -> None:
    there = {"s3://b/a.ckpt"}.__contains__
    local = str(tmp_path / "a.ckpt")
    assert found_again(local, old_folder=str(tmp_path), new_folder="s3://b", has_remote=there) == "s3://b/a.ckpt"
    Path(local).touch()
    found = found_again("s3://c/a.ckpt", old_folder="s3://c", new_folder=str(tmp_path), has_remote=there)
    assert found == local
