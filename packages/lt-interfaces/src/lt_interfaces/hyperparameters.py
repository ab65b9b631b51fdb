"""Remembering the arguments an object was built with: ``save_hyperparameters`` and ``hparams``."""

import copy
import inspect
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from types import FrameType
from typing import Any

from torch import nn

from lt_interfaces.rank_zero import rank_zero_warn
from lt_interfaces.spelling import did_you_mean

# What the command line gave for the object that is being built right now.
_given: ContextVar[dict[str, Any] | None] = ContextVar("given_hyperparameters", default=None)


class AttributeDict(dict[str, Any]):
    """A dict whose items can be read, set and deleted as attributes too.

    >>> hparams = AttributeDict(lr=0.1)
    >>> hparams.batch_size = 32
    >>> hparams
    "batch_size": 32
    "lr":         0.1
    """

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        message = f"There is no hyper-parameter `{name}`.{did_you_mean(name, map(str, self))}"
        raise AttributeError(message, name=name, obj=self)

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        if name not in self:
            message = f"There is no hyper-parameter `{name}`.{did_you_mean(name, map(str, self))}"
            raise AttributeError(message, name=name, obj=self)
        del self[name]

    def __repr__(self) -> str:
        width = max((len(str(key)) for key in self), default=0) + 3
        lines = [f'{f""""{key}":""":<{width}} {self[key]}' for key in sorted(self, key=str)]
        return "\n".join(lines)


class HyperparametersMixin:
    """Gives a class `save_hyperparameters` and ``hparams``; the module and the datamodule of users build on it.

    What is saved goes into checkpoints, from where the object can be rebuilt, and to the loggers at the start of a run.
    Nothing is dropped on the way: a value that cannot be saved is an error that names it, before the first step.
    """

    _log_hyperparams: bool = False
    _hparams_name: str | None = None

    def save_hyperparameters(
        self,
        *args: Any,
        ignore: Iterable[str] | str | None = None,
        frame: FrameType | None = None,
        logger: bool = True,
    ) -> None:
        """Save the arguments of ``__init__``, or the ones named, or one whole configuration, as ``hparams``.

        Call it first thing in ``__init__``: an argument is saved with the value its name has at that moment. Without
        arguments everything that ``__init__`` received is saved, for a subclass that of the whole chain, where the
        outermost value of a name counts; keyword arguments caught by ``**kwargs`` count as arguments, ``*args`` don't.

        Args:
            args: names of the arguments to save, or one dict, Namespace or other mutable mapping to save instead.
            ignore: names not to save.
            frame: the frame of the ``__init__`` to read; by default the caller's.
            logger: whether loggers receive these values.

        Raises:
            ValueError: a name isn't an argument of ``__init__``, or a value isn't a mapping.
            TypeError: a value can't be copied.

        >>> class Model(HyperparametersMixin):
        ...     def __init__(self, width, depth=2):
        ...         self.save_hyperparameters()
        >>> Model(8).hparams.width, dict(Model(8, depth=3).hparams)
        (8, {'width': 8, 'depth': 3})
        """
        if len(args) == 1 and not isinstance(args[0], str) and not args[0]:
            return
        current = inspect.currentframe()
        caller = frame or (current.f_back if current is not None else None)
        arguments = _arguments_of(self, caller)
        if args and not all(isinstance(arg, str) for arg in args):
            hparams, name = _whole_configuration(args), _name_of(args[0], arguments)
        else:
            hparams, name = _named_arguments(args, arguments), "kwargs"
        ignored = {ignore} if isinstance(ignore, str) else set(ignore or ())
        hparams = _without(hparams, ignored)
        _warn_about_modules(hparams)
        self._set_hparams(hparams)
        if isinstance(self.hparams, AttributeDict):
            for one in ignored:  # a class above has saved the whole chain's arguments, those ignored here too
                self.hparams.pop(one, None)
        self._hparams_name = name
        self._log_hyperparams = logger
        self._hparams_initial = _copy_of(self._hparams)

    @property
    def hparams(self) -> Any:
        """The saved hyper-parameters: an `AttributeDict`, or the mapping that was given; changes to it are kept."""
        if not hasattr(self, "_hparams"):
            self._hparams: Any = AttributeDict()
        return self._hparams

    @property
    def hparams_initial(self) -> Any:
        """A copy of the hyper-parameters as they were when saved, whatever happened to ``hparams`` since."""
        return copy.deepcopy(getattr(self, "_hparams_initial", AttributeDict()))

    def _set_hparams(self, hparams: Any) -> None:
        """Add to the saved hyper-parameters; a mapping of the user's own type replaces them."""
        if isinstance(hparams, dict) and isinstance(self.hparams, dict):
            self.hparams.update(hparams)
        else:
            self._hparams = hparams


@contextmanager
def given_hyperparameters(
    hparams: Mapping[str, Any], *, instantiator: str | None = None, class_path: str | None = None
) -> Iterator[None]:
    """Let objects built inside save these values instead of what their ``__init__`` received.

    The command line uses it, because a configuration can rebuild an object where ready-made arguments can't.

    Args:
        hparams: the configuration as the user wrote it.
        instantiator: import path of the function that rebuilds the object; saved as ``_instantiator``.
        class_path: import path of the class; saved as ``_class_path``.
    """
    notes = {"_instantiator": instantiator, "_class_path": class_path}
    given = dict(hparams) | {key: value for key, value in notes.items() if value is not None}
    token = _given.set(given)
    try:
        yield
    finally:
        _given.reset(token)


def _arguments_of(obj: object, frame: FrameType | None) -> dict[str, Any]:
    given = _given.get()
    if given is not None:
        return dict(given)
    if is_dataclass(obj):
        return {field.name: getattr(obj, field.name) for field in fields(obj) if field.init}
    arguments: dict[str, Any] = {}
    # From the innermost `__init__` outwards, so that the value given to the outermost class is the one that stays.
    while frame is not None:
        code = frame.f_code
        if code.co_name == "__init__" and code.co_argcount and frame.f_locals.get(code.co_varnames[0]) is obj:
            arguments.update(arguments_in(frame))
        frame = frame.f_back
    return arguments


def arguments_in(frame: FrameType) -> dict[str, Any]:
    """Return the arguments of the method that a frame runs, without the first, with the values their names have now.

    Keyword arguments caught by ``**kwargs`` count as arguments, ``*args`` don't.

    >>> class Layer:
    ...     def __init__(self, width, depth=2, **more):
    ...         self.given = arguments_in(inspect.currentframe())
    >>> Layer(8, bias=True).given
    {'width': 8, 'depth': 2, 'bias': True}
    """
    code = frame.f_code
    values = frame.f_locals
    num_named = code.co_argcount + code.co_kwonlyargcount
    arguments = {name: values[name] for name in code.co_varnames[1:num_named] if name in values}
    if code.co_flags & inspect.CO_VARKEYWORDS:
        position = num_named + bool(code.co_flags & inspect.CO_VARARGS)
        arguments.update(values.get(code.co_varnames[position], {}))
    return arguments


def _named_arguments(names: tuple[str, ...], arguments: dict[str, Any]) -> dict[str, Any]:
    for name in names:
        if name not in arguments:
            message = (
                f"`save_hyperparameters` was asked for `{name}`, which isn't an argument of `__init__`; "
                f"it has {sorted(arguments)}.{did_you_mean(name, arguments)}"
            )
            raise ValueError(message)
    return AttributeDict({name: arguments[name] for name in names} if names else arguments)


def _whole_configuration(args: tuple[Any, ...]) -> Any:
    if len(args) > 1:
        message = "`save_hyperparameters` takes names of arguments or one mapping, not both and not several mappings"
        raise ValueError(message)
    given = args[0]
    if isinstance(given, Namespace):
        return AttributeDict(vars(given))
    if isinstance(given, dict):
        return AttributeDict(given)
    if isinstance(given, MutableMapping):
        return given
    message = (
        f"`save_hyperparameters` takes names of arguments, a dict, a Namespace or another mutable mapping, "
        f"not {type(given).__name__}. For other objects save their fields, for instance vars(config)."
    )
    raise ValueError(message)


def _name_of(given: Any, arguments: dict[str, Any]) -> str | None:
    """Find the argument that a configuration came in as, so that it can be passed back under that name."""
    for name, value in arguments.items():
        if value is given:
            return name
    return next((name for name, value in arguments.items() if _are_equal(value, given)), None)


def _are_equal(value: Any, given: Any) -> bool:
    try:
        return type(value) is type(given) and bool(value == given)
    except (RuntimeError, ValueError):  # a tensor or array inside has no single answer
        return False


def _without(hparams: Any, ignored: set[str]) -> Any:
    if not isinstance(hparams, AttributeDict):
        return hparams
    return AttributeDict({key: value for key, value in hparams.items() if key not in ignored})


def _warn_about_modules(hparams: Any) -> None:
    names = [key for key, value in hparams.items() if isinstance(value, nn.Module)]
    if names:
        message = (
            f"The hyper-parameters {names} are instances of `nn.Module`; their weights are in the checkpoint already. "
            f"Leave them out with `self.save_hyperparameters(ignore={names})`."
        )
        rank_zero_warn(message, stacklevel=6)


def _copy_of(hparams: Any) -> Any:
    if not isinstance(hparams, dict):
        return copy.deepcopy(hparams)
    memo: dict[int, Any] = {}
    copied = AttributeDict()
    for key, value in hparams.items():
        try:
            copied[key] = copy.deepcopy(value, memo)
        except Exception as error:
            message = (
                f"The hyper-parameter `{key}` of type {type(value).__name__} can't be copied. "
                f"Leave it out with `self.save_hyperparameters(ignore=[{key!r}])`."
            )
            raise TypeError(message) from error
    return copied
