from argparse import Namespace
from collections import OrderedDict
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from lt_interfaces.hyperparameters import AttributeDict
from lt_loggers.hparams_yaml import flat_hyperparameters, plain_hyperparameters, write_hparams


class Color(Enum):
    RED = 1


@dataclass
class Sizes:
    hidden: int
    root: Path


def read_back(folder: Path) -> Any:
    return yaml.safe_load((folder / "hparams.yaml").read_text())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (1e-5, 1e-5),
        (float("inf"), float("inf")),
        ("yes: no", "yes: no"),
        ((1, [2, {"a": (3,)}]), [1, [2, {"a": [3]}]]),
        ({"b", "a"}, ["a", "b"]),
        (Color.RED, "RED"),
        (Path("data/digits"), "data/digits"),
        (timedelta(hours=1), "1:00:00"),
        (np.float64(0.5), 0.5),
        (np.int64(7), 7),
        (torch.tensor(2), 2),
        (torch.ones(2), "tensor([1., 1.])"),
        (Sizes(8, Path("data")), {"hidden": 8, "root": "data"}),
        (Namespace(a=1), {"a": 1}),
        (OrderedDict(a=1), {"a": 1}),
        (AttributeDict(a=1), {"a": 1}),
        (dict, "<class 'dict'>"),
        ({(1, 2): 3, Color.RED: 4, 5: 6}, {"(1, 2)": 3, "RED": 4, 5: 6}),
    ],
)
def test_every_value_is_written_at_least_as_a_string(tmp_path: Path, value: object, expected: object) -> None:
    write_hparams(tmp_path, {"value": value})
    assert read_back(tmp_path) == {"value": expected}


def test_order_of_hyperparameters_is_kept(tmp_path: Path) -> None:
    write_hparams(tmp_path, {"z": 1, "a": 2})
    assert list(read_back(tmp_path)) == ["z", "a"]


def test_no_hyperparameters_are_an_empty_file_of_none(tmp_path: Path) -> None:
    assert plain_hyperparameters(None) == {}
    write_hparams(tmp_path, {})
    assert read_back(tmp_path) == {}


def test_what_has_no_names_is_refused() -> None:
    with pytest.raises(TypeError, match="`params` must be a dict"):
        plain_hyperparameters([1, 2])


def test_writing_replaces_the_file_in_one_step(tmp_path: Path) -> None:
    write_hparams(tmp_path, {"a": 1})
    with (tmp_path / "hparams.yaml").open() as reader:
        write_hparams(tmp_path, {"a": 2})
        assert reader.read() == "a: 1\n"
    assert read_back(tmp_path) == {"a": 2}
    assert [file.name for file in tmp_path.iterdir()] == ["hparams.yaml"]


def test_nested_names_are_joined_and_empty_groups_stay() -> None:
    flat = flat_hyperparameters({"lr": 0.1, "net": {"sizes": (8, 4), "act": {"name": None}}, "extra": {}})
    assert flat == {"lr": 0.1, "net/sizes": [8, 4], "net/act/name": None, "extra": {}}
