"""Making an object anew from the hyper-parameters that a checkpoint or a file holds.

Two kinds of objects are made this way, modules and datamodules, with the same rules: what the file says is overridden
by what the caller says, and the constructor gets what it accepts.
"""

import ast
import csv
import inspect
import os
import pkgutil
import urllib.request
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

import torch

from lt_interfaces.errors import missing_package
from lt_interfaces.hyperparameters import AttributeDict
from lt_interfaces.plain_values import from_plain
from lt_interfaces.rank_zero import rank_zero_warn
from lt_interfaces.spelling import did_you_mean
from lt_interfaces.torch_file import load_torch_file, read_torch_file

Made = TypeVar("Made")
_Owner = TypeVar("_Owner")
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

_COMMAND_LINE: Final = "lt_cli:instantiate_module"
_INSTANTIATORS: Final[Mapping[str, str]] = {
    "lightning.pytorch.cli.instantiate_module": _COMMAND_LINE,
    "pytorch_lightning.cli.instantiate_module": _COMMAND_LINE,
    "lt_cli.instantiate_module": _COMMAND_LINE,
}
"""Functions that a checkpoint may name to make its object: what is written in the file, and what is called."""
_INSTANTIATOR_KEYS: Final = ("_instantiator", "_class_path")

if TYPE_CHECKING:
    class_only = classmethod  # type checkers give `Self` its meaning only for this name
else:

    class class_only(classmethod):  # noqa: N801 (a decorator, written like `classmethod`)
        """A class method that refuses to be called on an instance, where its result would be mistaken for a change.

        >>> class Model:
        ...     @class_only
        ...     def load(cls):
        ...         return cls()
        >>> Model().load()
        Traceback (most recent call last):
        TypeError: `load` makes a new object, so call it on the class: `loaded = Model.load(...)`.
        """

        def __get__(self, instance, owner=None):  # noqa: ANN001, ANN204 (type checkers read the branch above)
            if instance is None:
                return super().__get__(instance, owner)

            # Raised by the call, not by the look-up: tools that walk the attributes of an instance must get through.
            def refuse(*args: object, **kwargs: object) -> None:
                name = self.__func__.__name__
                kind = type(instance).__name__
                message = f"`{name}` makes a new object, so call it on the class: `loaded = {kind}.{name}(...)`."
                raise TypeError(message)

            return refuse


def read_checkpoint(
    path: str | os.PathLike[str] | IO[bytes], *, map_location: Any = None, weights_only: bool | None = None
) -> dict[str, Any]:
    """Read a checkpoint file from the disk, an open binary file or an ``http(s)`` address.

    Args:
        path: where it is.
        map_location: as in `torch.load`. By default tensors stay on the kind of device they were saved from where it
            exists here, and come to the CPU where it doesn't.
        weights_only: ``None`` and ``True`` load plain values and tensors alone, whatever the source. ``False``
            unpickles arbitrary objects, which can run any code: only for files whose author you trust.

    Raises:
        pickle.UnpicklingError: the file is damaged, or holds other objects than plain values and tensors.
        FileNotFoundError: there's no such file.
        IsADirectoryError: it's a folder.
    """
    where = map_location or _available_device
    if isinstance(path, str | os.PathLike) and "://" not in str(path):
        stored = load_torch_file(path, where, weights_only)
    else:
        stored = read_torch_file(_opened(path), where, weights_only=weights_only, name=str(path))
    return {key: from_plain(value) for key, value in stored.items()}


def read_hyperparameters(path: str | os.PathLike[str], *, install: str = "PyYAML") -> dict[str, Any]:
    r"""Read hyper-parameters from a ``.yaml``, ``.yml`` or ``.csv`` file.

    A CSV file has the header ``key,value``; values are read as Python literals where they are ones, else as strings.

    Args:
        path: where the file is.
        install: what to put behind ``pip install`` where YAML can't be read.

    Raises:
        ValueError: another suffix, or content that isn't a table of plain values.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "hparams.csv"
    >>> _ = file.write_text("key,value\nlr,0.1\nname,resnet\n")
    >>> read_hyperparameters(file)
    {'lr': 0.1, 'name': 'resnet'}
    """
    file = Path(path)
    if file.suffix.lower() == ".csv":
        with file.open(newline="", encoding="utf-8") as rows:
            return {row["key"]: _literal(row["value"]) for row in csv.DictReader(rows)}
    if file.suffix.lower() in (".yaml", ".yml"):
        return _read_yaml(file, install)
    message = f"`hparams_file` must end in .csv, .yaml or .yml, but {str(path)!r} was given."
    raise ValueError(message)


def instantiate(
    kind: Callable[..., Made], saved: Mapping[str, Any], *, name: str | None, overrides: Mapping[str, Any]
) -> Made:
    """Make an object from saved hyper-parameters.

    Args:
        kind: the class.
        saved: the hyper-parameters as the checkpoint or the file holds them.
        name: the constructor's argument that takes them all, if they were saved as one object.
        overrides: what the caller says instead; stronger than ``saved``.

    Raises:
        ValueError: the hyper-parameters name a function to make the object with that isn't one of those allowed.
        TypeError: an argument that the constructor needs is neither saved nor overridden.

    >>> class Model:
    ...     def __init__(self, width, depth=2):
    ...         self.size = (width, depth)
    >>> instantiate(Model, {"width": 8, "depth": 1, "unused": 0}, name=None, overrides={"depth": 3}).size
    (8, 3)
    """
    plain = {key: from_plain(value) for key, value in saved.items()}
    instantiator = plain.get("_instantiator")
    arguments = constructor_arguments(
        kind,
        {key: value for key, value in plain.items() if key not in _INSTANTIATOR_KEYS},
        name=name,
        overrides=overrides,
    )
    if instantiator is not None:
        made: Made = _allowed_instantiator(instantiator)(kind, arguments)
        return made
    _check_complete(kind, arguments)
    return kind(**arguments)


def constructor_arguments(
    kind: Callable[..., Any], saved: Mapping[str, Any], *, name: str | None, overrides: Mapping[str, Any]
) -> dict[str, Any]:
    """Choose from saved hyper-parameters and the caller's overrides what the constructor of a class accepts.

    All pass if the constructor takes ``**kwargs``. An override that it doesn't accept is left out with a warning.
    The arguments are those of `instantiate`.

    >>> constructor_arguments(dict.fromkeys, {"unused": 0}, name=None, overrides={})
    {}
    """
    parameters = inspect.signature(kind).parameters.values()
    accepted = [one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters)
    if name in accepted:
        inside = {key: value for key, value in overrides.items() if key not in accepted}
        return {
            str(name): AttributeDict({**saved, **inside}),
            **{key: value for key, value in overrides.items() if key in accepted},
        }
    together = {**saved, **overrides}
    if takes_any:
        return together
    for key in overrides:
        if key not in accepted:
            owner = getattr(kind, "__name__", repr(kind))
            rank_zero_warn(f"`{owner}` takes no argument `{key}`: it's ignored.{did_you_mean(key, accepted)}")
    return {key: value for key, value in together.items() if key in accepted}


def _check_complete(kind: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    try:
        inspect.signature(kind).bind(**arguments)
    except TypeError as error:
        message = (
            f"`{getattr(kind, '__name__', repr(kind))}` can't be made from the hyper-parameters that were saved: "
            f"{error}. Pass what's missing as keyword arguments, and call `self.save_hyperparameters()` in `__init__` "
            "to have it saved the next time."
        )
        raise TypeError(message) from error


def _allowed_instantiator(name: object) -> Callable[..., Any]:
    if name not in _INSTANTIATORS:
        message = (
            f"The checkpoint asks to be made by the function {name!r}, which isn't one of those allowed: "
            f"{sorted(_INSTANTIATORS)}. Only a file that was tampered with, or made by your own tool, says so."
        )
        raise ValueError(message)
    try:
        found: Callable[..., Any] = pkgutil.resolve_name(_INSTANTIATORS[str(name)])
    except ImportError as error:
        missing = missing_package("lt-cli", "A checkpoint of a run from the command line", "lt-cli")
        raise missing from error
    return found


def _opened(source: str | os.PathLike[str] | IO[bytes]) -> IO[bytes]:
    """Return what can be read: an open file as it is, the content behind an address as one."""
    if not isinstance(source, str | os.PathLike):
        return source
    address = str(source)
    if address.startswith(("http://", "https://")):
        with urllib.request.urlopen(address) as response:
            return BytesIO(response.read())
    message = (
        f"`checkpoint_path` must be a local path or an http(s) address, but {address!r} was given. Copy the file here."
    )
    raise ValueError(message)


def _available_device(storage: Any, location: str) -> Any:
    """Keep a storage on the CPU, where torch reads it, if its device doesn't exist here."""
    kind, _, index = location.partition(":")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        return storage
    if (kind == "mps" and not torch.backends.mps.is_available()) or (kind == "xla" and find_spec("torch_xla") is None):
        return storage
    return None  # torch does what it does without being asked


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def _read_yaml(file: Path, install: str) -> dict[str, Any]:
    try:
        import yaml  # an extra that only this kind of file needs
    except ImportError as error:
        missing = missing_package("PyYAML", f"Reading {file.name!r}", install)
        raise missing from error

    class Loader(yaml.SafeLoader):
        """Reads plain values, and the tuples that hyper-parameter files often hold."""

    def make_tuple(loader: Loader, node: yaml.SequenceNode) -> tuple[Any, ...]:
        return tuple(loader.construct_sequence(node, deep=True))

    Loader.add_constructor("tag:yaml.org,2002:python/tuple", make_tuple)
    try:
        with file.open(encoding="utf-8") as text:
            content = yaml.load(text, Loader)
    except yaml.YAMLError as error:
        message = f"{str(file)!r} can't be read as a table of plain values: {error}"
        raise ValueError(message) from error
    if not isinstance(content, dict | None):
        message = f"{str(file)!r} must hold a table of names and values, but it holds a {type(content).__name__}."
        raise ValueError(message)
    return content or {}
