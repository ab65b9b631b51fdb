import json
import tomllib
from typing import Any

import pytest
import yaml

from lt_compat.reading.text_configs import configured_paths, with_paths_replaced

YAML = """\
# class_path: lightning.pytorch.Trainer
trainer:
  class_path: lightning.pytorch.Trainer  # the loop
  callbacks:
    - class_path: "lightning.pytorch.callbacks.Timer"
    - {_target_: pytorch_lightning.callbacks.EarlyStopping, monitor: loss}
    - lightning.pytorch.callbacks.ModelCheckpoint
    - [lightning_fabric.Fabric,lightning.Fabric]
  note: see lightning.pytorch.Trainer for more
  filter: ignore::lightning.fabric.Warning
  url: https://lightning.ai.example/lightning.pytorch
  pytorch_lightning.Trainer: 1
"""
PATHS = [
    "lightning.pytorch.Trainer",
    "lightning.pytorch.callbacks.Timer",
    "pytorch_lightning.callbacks.EarlyStopping",
    "lightning.pytorch.callbacks.ModelCheckpoint",
    "lightning_fabric.Fabric",
    "lightning.Fabric",
    "pytorch_lightning.Trainer",
]


def test_paths_are_found_where_they_are_the_whole_of_a_value() -> None:
    assert [found.path for found in configured_paths(YAML)] == PATHS
    assert [found.line for found in configured_paths(YAML)] == [3, 5, 6, 7, 8, 8, 12]


def replaced(value: Any) -> Any:
    if isinstance(value, dict):
        return {replaced(key): replaced(one) for key, one in value.items()}
    if isinstance(value, list):
        return [replaced(one) for one in value]
    return "ours." + value if value in PATHS else value


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_only_the_paths_change_and_what_the_file_means(end: str) -> None:
    text = YAML.replace("\n", end)
    new = with_paths_replaced(text, lambda path: f"ours.{path}")
    assert new.replace("ours.", "") == text
    assert yaml.safe_load(new) == replaced(yaml.safe_load(text))


def test_a_path_without_a_replacement_stays() -> None:
    assert with_paths_replaced(YAML, lambda _: None) == YAML


def test_json_and_toml_are_read_too() -> None:
    given = {"a": "lightning.pytorch.Trainer", "b": ["lightning.Fabric", "lightning", "a lightning.Fabric"]}
    new = with_paths_replaced(json.dumps(given), lambda path: f"ours.{path}")
    assert json.loads(new) == replaced(given)
    toml = '# "lightning.Fabric"\na = \'lightning.Fabric\' # "lightning.Fabric"\nb = "lightning.Fabric#"\n'
    new = with_paths_replaced(toml, lambda path: f"ours.{path}")
    assert tomllib.loads(new) == {"a": "ours.lightning.Fabric", "b": "lightning.Fabric#"}
    assert new.startswith('# "lightning.Fabric"')
