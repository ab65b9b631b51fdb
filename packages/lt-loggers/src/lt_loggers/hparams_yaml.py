"""Hyper-parameters as plain data, and as the file ``hparams.yaml`` in a run's folder."""

import dataclasses
import os
from argparse import Namespace
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Final

from lt_interfaces.commit import commit_text

HPARAMS_FILE: Final = "hparams.yaml"


def plain_hyperparameters(params: Any) -> dict[Any, Any]:
    """Return hyper-parameters as nested dicts and lists of numbers, strings, booleans and ``None``.

    Enums become their names; NumPy scalars and tensors of one number become numbers; dataclasses and namespaces become
    dicts; tuples and sets become lists. Anything else becomes the string that ``str`` makes of it.

    Args:
        params: a mapping, a namespace, a dataclass instance, or ``None`` for no hyper-parameters.

    Raises:
        TypeError: ``params`` is none of these.

    >>> plain_hyperparameters({"path": Path("data"), "sizes": (8, 4), "activation": dict})
    {'path': 'data', 'sizes': [8, 4], 'activation': "<class 'dict'>"}
    """
    plain = _plain({} if params is None else params)
    if not isinstance(plain, dict):
        message = f"`params` must be a dict, a Namespace or a dataclass instance, got {type(params).__name__}."
        raise TypeError(message)
    return plain


def flat_hyperparameters(params: Any) -> dict[str, Any]:
    """Return hyper-parameters as `plain_hyperparameters` does, with the names of nested ones joined by ``/``.

    >>> flat_hyperparameters({"lr": 0.1, "net": {"sizes": (8, 4), "blocks": {}}})
    {'lr': 0.1, 'net/sizes': [8, 4], 'net/blocks': {}}
    """
    return dict(_leaves(plain_hyperparameters(params)))


def write_hparams(folder: str | os.PathLike[str], params: Mapping[Any, Any]) -> None:
    """Write ``hparams.yaml`` into a folder, replacing the one that's there in one step.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> write_hparams(folder, {"lr": 0.1, "loss": "mse"})
    >>> print((Path(folder) / "hparams.yaml").read_text().strip())
    lr: 0.1
    loss: mse
    """
    # Imported here: PyYAML is needed by those who log hyper-parameters, not by `import lt_loggers`.
    import yaml

    commit_text(Path(folder) / HPARAMS_FILE, yaml.safe_dump(plain_hyperparameters(params), sort_keys=False))


def _leaves(params: Mapping[Any, Any], group: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in params.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{group}{key}/")
        else:
            yield f"{group}{key}", value


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.name
    if value is None or type(value) in (bool, int, float, str):
        return value
    fields = _fields(value)
    if fields is not None:
        return {_plain_key(key): _plain(item) for key, item in fields.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        # A set has no order of its own; the same one should always give the same file.
        return [_plain(item) for item in sorted(value, key=str)]
    return _plain_scalar(value)


def _fields(value: Any) -> Mapping[Any, Any] | None:
    """Return the named parts of a mapping, a namespace or a dataclass instance, ``None`` for anything else."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, Namespace):
        return vars(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return None


def _plain_key(key: Any) -> Any:
    plain = _plain(key)
    return str(key) if isinstance(plain, dict | list) else plain


def _plain_scalar(value: Any) -> Any:
    """Return the number in a NumPy scalar or a tensor of one number, else the value as a string."""
    if getattr(value, "ndim", None) == 0 and callable(getattr(value, "item", None)):
        number = value.item()
        if type(number) in (bool, int, float):
            return number
    return str(value)
