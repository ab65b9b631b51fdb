from pathlib import Path

import pytest

from lt_checkpoint_io.stores import get_filesystem


def test_file_systems_of_paths_and_urls_open_what_lies_there(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("here")
    for path in (tmp_path / "a.txt", str(tmp_path / "a.txt"), f"file://{tmp_path}/a.txt"):
        with get_filesystem(path).open(path, "r") as file:
            assert file.read() == "here"
    with get_filesystem("memory://b.txt").open("memory://b.txt", "w") as file:
        file.write("there")
    assert get_filesystem("memory://elsewhere").cat("/b.txt") == b"there"


def test_the_file_system_of_an_unknown_protocol_is_refused_by_its_url() -> None:
    with pytest.raises(ValueError, match="`nonsense://a` can't be opened: Protocol not known: nonsense"):
        get_filesystem("nonsense://a")
