"""Default parts of a run: loggers, callbacks and a profiler found by name, used if installed."""

import os
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from functools import wraps
from importlib.metadata import entry_points
from typing import Any, Final

from lt_core.specs import TrainerSpecs
from lt_interfaces import plugins
from lt_interfaces.callback import Callback
from lt_interfaces.errors import missing_package
from lt_interfaces.logger import Logger
from lt_interfaces.profiler import Profiler
from lt_interfaces.rank_zero import rank_zero_info
from lt_interfaces.roles import Role

CALLBACK_FACTORIES: Final = "LT_CALLBACK_FACTORIES"
"""The environment variable that names a group of entry points, each a function that returns one callback or several for
every Trainer. lt-compat names Lightning's; without it none is looked for."""


def _telling(change: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method of `list` that tells of the change afterwards."""

    @wraps(change)
    def changed(callbacks: "CallbackList", *args: Any, **kwargs: Any) -> Any:
        answer = change(callbacks, *args, **kwargs)
        callbacks.tell()
        return answer

    return changed


class CallbackList(list[Any]):
    """The Trainer's callbacks: who adds one while a run goes on changes who's told, from the next hook on.

    Args:
        callbacks: what it holds at first.
        tell: called after each change.
    """

    def __init__(self, callbacks: Iterable[Any], tell: Callable[[], None]) -> None:
        super().__init__(callbacks)
        self.tell = tell

    append = _telling(list.append)
    extend = _telling(list.extend)
    insert = _telling(list.insert)
    remove = _telling(list.remove)
    pop = _telling(list.pop)
    clear = _telling(list.clear)
    __setitem__ = _telling(list.__setitem__)
    __delitem__ = _telling(list.__delitem__)
    __iadd__ = _telling(list.__iadd__)

    def __reduce__(self) -> tuple[type, tuple[list[Any]]]:
        """Become a plain list in a copy or a file: whom it tells is the Trainer, which doesn't go along."""
        return list, (list(self),)


def make_callbacks(specs: TrainerSpecs) -> list[Any]:
    """Return the user's callbacks, the defaults and those of installed factories, in the order they're called.

    Raises:
        MissingPackageError: when a default was asked for explicitly and isn't installed; gives the install line.
    """
    callbacks: list[Any] = list(specs.callbacks)
    wanted = specs.saving.enable_checkpointing
    _add(callbacks, "model_checkpoint", role=Role.CHECKPOINT, argument="enable_checkpointing", wanted=wanted)
    if specs.limits.max_time is not None:
        _add_timer(callbacks, specs.limits.max_time)
    wanted = specs.logging.enable_progress_bar
    _add(callbacks, "progress_bar", role=Role.PROGRESS, argument="enable_progress_bar", wanted=wanted)
    wanted = specs.logging.enable_model_summary
    _add(callbacks, "model_summary", role=Role.SUMMARY, argument="enable_model_summary", wanted=wanted)
    return ordered([*callbacks, *_from_factories()])


def _from_factories() -> list[Any]:
    """Return what installed factories bring to every Trainer, where the environment names their group."""
    group = os.environ.get(CALLBACK_FACTORIES)
    made = [point.load()() for point in entry_points(group=group)] if group else []
    return [callback for one in made for callback in (one if isinstance(one, Iterable) else [one])]


def ordered(callbacks: Iterable[Any]) -> list[Any]:
    """Return callbacks as they're called: tuners first, checkpoints last, others as given."""

    def place(callback: Any) -> int:
        # By identity: a callback of the user's own may keep something else under this name.
        return 0 if callback.role is Role.TUNER else 2 if callback.role is Role.CHECKPOINT else 1

    return sorted(callbacks, key=place)


def merge_module_callbacks(callbacks: Sequence[Any], returned: Any) -> list[Any]:
    """Return the callbacks with those that ``configure_callbacks`` returned; one replaces those of its kind.

    A callback of the module replaces the Trainer's whose class is the same or a base of it.
    """
    own = [returned] if isinstance(returned, Callback) else list(returned or ())
    kept = [callback for callback in callbacks if not any(_replaces(mine, callback) for mine in own)]
    replaced = [type(callback).__name__ for callback in callbacks if callback not in kept]
    if replaced:
        rank_zero_info(f"`configure_callbacks` of the module replaces these callbacks of the Trainer: {replaced}.")
    return ordered([*kept, *own])


def check_state_keys(callbacks: Iterable[Any]) -> None:
    """Refuse two callbacks with state under one key: one's state would be lost.

    Raises:
        RuntimeError: naming the key.
    """
    seen: set[str] = set()
    for callback in callbacks:
        if type(callback).state_dict is Callback.state_dict:
            continue
        if callback.state_key in seen:
            message = (
                f"Two callbacks store their state under the key {callback.state_key!r}, so one would be lost. Override"
                " `state_key` in one of them."
            )
            raise RuntimeError(message)
        seen.add(callback.state_key)


def bind_logging(callbacks: Iterable[Any], module: Any) -> None:
    """Let callbacks log as the module does: ``self.log`` within their hooks."""
    for callback in callbacks:
        callback.log = module.log
        callback.log_dict = module.log_dict


def make_loggers(specs: TrainerSpecs) -> list[Logger]:
    """Return the loggers asked for; ``logger=None`` takes TensorBoard or CSV if installed.

    Under ``fast_dev_run`` nothing is written: one logger that takes everything stands for them.

    Raises:
        MissingPackageError: when a logger was asked for explicitly and isn't installed; gives the install line.
    """
    asked = specs.logging.logger
    if specs.limits.fast_dev_run and asked != ():
        return [plugins.resolve("loggers", "dummy")()] if plugins.is_installed("loggers", "dummy") else []
    if asked is None or asked is True:
        return _default_loggers(specs.saving.default_root_dir, required=asked is True)
    return [_named_logger(one, specs.saving.default_root_dir) if isinstance(one, str) else one for one in asked]


def make_profiler(specs: TrainerSpecs) -> Profiler | None:
    """Return the profiler asked for.

    Raises:
        ValueError: when it isn't installed; gives the install line.
    """
    asked = specs.logging.profiler
    if not isinstance(asked, str):
        return asked
    profiler: Profiler = plugins.resolve("profilers", asked)()
    return profiler


def _add(callbacks: list[Any], name: str, *, role: Role, argument: str, wanted: bool | None) -> None:
    """Add a default callback unless one of its role is there, it's switched off, or it isn't installed."""
    if wanted is False or any(getattr(callback, "role", None) is role for callback in callbacks):
        return
    if plugins.is_installed("callbacks", name):
        callbacks.append(plugins.resolve("callbacks", name)())
    elif wanted:
        missing = missing_package("lt-callbacks", f"`{argument}=True`", "lt-callbacks")
        raise missing


def _add_timer(callbacks: list[Any], duration: timedelta) -> None:
    if any(getattr(callback, "role", None) is Role.TIMER for callback in callbacks):
        rank_zero_info("`max_time` is ignored, as there's a Timer among the callbacks.")
        return
    if not plugins.is_installed("callbacks", "timer"):
        missing = missing_package("lt-callbacks", "`max_time`", "lt-callbacks")
        raise missing
    callbacks.append(plugins.resolve("callbacks", "timer")(duration=duration))


def _default_loggers(root: str, *, required: bool) -> list[Logger]:
    for name in ("tensorboard", "csv"):
        if plugins.is_installed("loggers", name):
            return [_named_logger(name, root)]
    if required:
        missing = missing_package("lt-loggers", "`logger=True`", "lt-loggers")
        raise missing
    return []


def _named_logger(name: str, root: str) -> Logger:
    logger: Logger = plugins.resolve("loggers", name)(save_dir=root, version=_slurm_job())
    return logger


def _slurm_job() -> str | None:
    """Return the id of the batch job this is, so that a requeued job goes on in its own folder."""
    is_interactive = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
    return None if is_interactive or "SLURM_NTASKS" not in os.environ else os.environ.get("SLURM_JOB_ID")


def _replaces(mine: Any, theirs: Any) -> bool:
    return issubclass(type(mine), type(theirs))
