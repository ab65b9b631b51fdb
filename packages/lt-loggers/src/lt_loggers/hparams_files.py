"""Files of hyper-parameters that programs write and read themselves, in the forms that loggers use."""

import csv
import io
import os
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from lt_interfaces.commit import commit_text
from lt_interfaces.rank_zero import rank_zero_warn
from lt_interfaces.reinstantiation import read_hyperparameters
from lt_loggers.hparams_yaml import plain_hyperparameters

StrPath = str | os.PathLike[str]
_TABLE_HEAD: Final = ("key", "value")


def save_hparams_to_yaml(
    config_yaml: StrPath, hparams: Mapping[str, Any] | Namespace, use_omegaconf: bool = True
) -> None:
    """Write hyper-parameters as ``hparams.yaml`` holds them, replacing the file in one step.

    Args:
        config_yaml: the file; its folder must be there.
        hparams: the hyper-parameters; what isn't plain becomes a string (see `plain_hyperparameters`).
        use_omegaconf: accepted for Lightning's sake; the file is the same.

    Raises:
        RuntimeError: there's no such folder.
        TypeError: ``hparams`` is no dict and no Namespace.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "mine.yaml"
    >>> save_hparams_to_yaml(file, {"lr": 0.1, "sizes": (8, 4)})
    >>> load_hparams_from_yaml(file)
    {'lr': 0.1, 'sizes': [8, 4]}
    """
    plain = plain_hyperparameters(hparams)
    commit_text(_in_a_folder(config_yaml), yaml.safe_dump(plain, sort_keys=False))


def load_hparams_from_yaml(config_yaml: StrPath, use_omegaconf: bool = True) -> dict[str, Any]:
    """Read hyper-parameters from a YAML file; none, with a warning, where there's no file.

    Raises:
        ValueError: the file holds something else than a table of plain values.
    """
    return _read_if_there(config_yaml)


def save_hparams_to_tags_csv(tags_csv: StrPath, hparams: Mapping[str, Any] | Namespace) -> None:
    """Write hyper-parameters as a table with the columns ``key`` and ``value``, replacing the file in one step.

    Raises:
        RuntimeError: there's no such folder.
        TypeError: ``hparams`` is no dict and no Namespace.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_TABLE_HEAD, *plain_hyperparameters(hparams).items()])
    commit_text(_in_a_folder(tags_csv), text.getvalue())


def load_hparams_from_tags_csv(tags_csv: StrPath) -> dict[str, Any]:
    """Read hyper-parameters from such a table; none, with a warning, where there's no file.

    Values are Python literals where they can be read as such, else strings.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "mine.csv"
    >>> save_hparams_to_tags_csv(file, {"lr": 0.1, "name": "resnet"})
    >>> load_hparams_from_tags_csv(file)
    {'lr': 0.1, 'name': 'resnet'}
    """
    return _read_if_there(tags_csv)


def _in_a_folder(file: StrPath) -> Path:
    path = Path(file)
    if not path.parent.is_dir():
        message = f"There's no folder {str(path.parent)!r} to write {path.name!r} to."
        raise RuntimeError(message)
    return path


def _read_if_there(file: StrPath) -> dict[str, Any]:
    if not Path(file).exists():
        rank_zero_warn(f"There's no file {str(file)!r}: no hyper-parameters are read.")
        return {}
    return read_hyperparameters(file)
