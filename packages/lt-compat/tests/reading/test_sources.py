from pathlib import Path

import pytest

from lt_compat.reading.sources import files_in


def test_a_folder_is_read_without_what_is_hidden_installed_or_made(tmp_path: Path) -> None:
    wanted = ["a.py", "b/c.yaml", "b/d.pyi", "b/e.toml", "b/f.json"]
    others = [".hidden/x.py", "env/lib/x.py", "__pycache__/x.py", "b/x.txt", "x.egg-info/x.json", "node_modules/x.json"]
    for name in [*wanted, *others, "env/pyvenv.cfg"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [str(file.relative_to(tmp_path)) for file in files_in([tmp_path])] == wanted
    assert list(files_in([tmp_path / "env"])) == [tmp_path / "env" / "lib" / "x.py"]


def test_a_path_that_is_wrong_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there's nothing at .*nowhere"):
        list(files_in([tmp_path / "nowhere"]))
    (tmp_path / "a.txt").touch()
    with pytest.raises(ValueError, match=r"a\.txt can't be read: it's none of \.json, \.py"):
        list(files_in([tmp_path / "a.txt"]))
