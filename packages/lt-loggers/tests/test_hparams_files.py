from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lt_loggers.hparams_files import (
    load_hparams_from_tags_csv,
    load_hparams_from_yaml,
    save_hparams_to_tags_csv,
    save_hparams_to_yaml,
)

Save = Callable[[Path, Any], None]
Load = Callable[[Path], dict[str, Any]]
PAIRS = [
    ("mine.yaml", save_hparams_to_yaml, load_hparams_from_yaml),
    ("mine.csv", save_hparams_to_tags_csv, load_hparams_from_tags_csv),
]
each_form = pytest.mark.parametrize(("name", "save", "load"), PAIRS)


@each_form
@pytest.mark.parametrize("kind", [dict, Namespace])
def test_what_is_saved_is_read_again(name: str, save: Save, load: Load, kind: type, tmp_path: Path) -> None:
    save(tmp_path / name, kind(lr=0.1, layers=[1, 2], name="resnet", flag=True))
    assert load(tmp_path / name) == {"lr": 0.1, "layers": [1, 2], "name": "resnet", "flag": True}


@each_form
def test_without_a_file_nothing_is_read_and_that_is_told(name: str, save: Save, load: Load, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=rf"There's no file .*{name}"):
        assert load(tmp_path / name) == {}


@each_form
def test_a_folder_that_is_not_there_is_refused(name: str, save: Save, load: Load, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"There's no folder .*nowhere"):
        save(tmp_path / "nowhere" / name, {"lr": 0.1})


@each_form
def test_what_is_no_table_is_refused(name: str, save: Save, load: Load, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="must be a dict"):
        save(tmp_path / name, [0.1])
