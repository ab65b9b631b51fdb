"""What a run tells about itself: loggers, progress bar, summary, profiler."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, cast

from lt_fabric.argument_checks import check_bool, check_choice, check_int, fulfils, instance_hint, refusal
from lt_interfaces.logger import Logger
from lt_interfaces.plugins import known_names
from lt_interfaces.profiler import Profiler

Loggers = Literal[True] | tuple[Logger | str, ...] | None


@dataclass(frozen=True)
class LoggingSpec:
    """Who hears what a run tells, and how often."""

    logger: Loggers
    """``None``: the default logger where one is installed; ``True``: the same, and an error where none is; else exactly
    these, by name or as instances (``()``: none)."""

    profiler: Profiler | str | None
    """An instance or a plugin's name."""

    log_every_n_steps: int
    """0 means never during training steps."""

    log_gradient_norm: bool
    """Whether the norm of all gradients before clipping is logged at each step."""

    enable_progress_bar: bool | None
    """``None``: yes, where one is installed; ``True``: yes, and an error where none is."""

    enable_model_summary: bool | None
    """``None``: yes, where one is installed; ``True``: yes, and an error where none is."""

    enable_autolog_hparams: bool


def resolve_logging(
    *,
    logger: object = None,
    profiler: object = None,
    log_every_n_steps: object = None,
    log_gradient_norm: object = False,
    enable_progress_bar: object = None,
    enable_model_summary: object = None,
    enable_autolog_hparams: object = True,
) -> LoggingSpec:
    """Check the Trainer's arguments about what a run tells; all of them may hold anything.

    Raises:
        MisconfigurationException: for a wrong value.
        TypeError: for a wrong type.

    >>> resolve_logging(logger=False).logger, resolve_logging().log_every_n_steps
    ((), 50)
    """
    return LoggingSpec(
        logger=_check_logger(logger),
        profiler=None if profiler is None else _check_profiler(profiler),
        log_every_n_steps=_check_steps(log_every_n_steps),
        log_gradient_norm=check_bool("log_gradient_norm", log_gradient_norm),
        enable_progress_bar=_check_switch("enable_progress_bar", enable_progress_bar),
        enable_model_summary=_check_switch("enable_model_summary", enable_model_summary),
        enable_autolog_hparams=check_bool("enable_autolog_hparams", enable_autolog_hparams),
    )


def _check_switch(name: str, value: object) -> bool | None:
    return None if value is None else check_bool(name, value, accepted="True, False or None")


def _check_steps(value: object) -> int:
    if value is None:
        return 50
    return check_int("log_every_n_steps", value, minimum=0, accepted="an integer >= 0 (0: never) or None")


def _check_logger(value: object) -> Loggers:
    if value is None or value is True:
        return value
    if value is False:
        return ()
    is_one = fulfils(value, Logger) or isinstance(value, str | Mapping) or not isinstance(value, Iterable)
    listed = [value] if is_one else cast(Iterable[object], value)
    return tuple(_check_one_logger(logger) for logger in listed)


def _check_one_logger(value: object) -> Logger | str:
    if fulfils(value, Logger):
        return cast(Logger, value)
    if isinstance(value, str):
        also = ", an instance of Logger, a list of such, True, False or None"
        return check_choice("logger", value, choices=known_names("loggers"), also=also)
    accepted = "a Logger, a logger's name, a list of such, True, False or None"
    message = refusal("logger", value, accepted=accepted, hint=instance_hint(value))
    raise TypeError(message)


def _check_profiler(value: object) -> Profiler | str:
    if fulfils(value, Profiler):
        return cast(Profiler, value)
    return check_choice("profiler", value, choices=known_names("profilers"), also=", an instance of Profiler, or None")
