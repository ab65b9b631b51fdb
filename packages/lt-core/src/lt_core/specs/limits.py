"""How long a run may be: epochs, steps, time, and how many batches of each kind."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from lt_core.specs.durations import parse_duration
from lt_fabric.argument_checks import check_fraction_or_count, check_int, is_int, refusal
from lt_interfaces.errors import MisconfigurationException, PossibleUserWarning
from lt_interfaces.rank_zero import rank_zero_info, rank_zero_warn

_NO_LIMIT: Final = -1
_DEFAULT_MAX_EPOCHS: Final = 1000


@dataclass(frozen=True)
class LimitsSpec:
    """The limits of a run, with the consequences of ``fast_dev_run`` and ``overfit_batches`` already applied."""

    max_epochs: int | None
    """-1 means no limit; ``None`` is settled when fitting starts, by `resolve_epochs`."""

    min_epochs: int | None
    """``None`` is settled when fitting starts, by `resolve_epochs`."""

    max_steps: int
    """Optimizer steps; -1 means no limit."""

    min_steps: int | None
    max_time: timedelta | None
    fast_dev_run: bool | int
    """``False``, ``True`` for one batch, or a number of batches above one."""

    limit_train_batches: int | float
    """An integer is a number of batches, a float from 0.0 to 1.0 a fraction of them; so for its siblings."""

    limit_val_batches: int | float
    limit_test_batches: int | float
    limit_predict_batches: int | float
    overfit_batches: int | float
    """Above zero, train and validation loaders aren't shuffled and are limited to this."""

    reload_dataloaders_every_n_epochs: int
    """0 means never."""


def resolve_limits(
    *,
    max_epochs: object = None,
    min_epochs: object = None,
    max_steps: object = -1,
    min_steps: object = None,
    max_time: object = None,
    fast_dev_run: object = False,
    limit_train_batches: object = None,
    limit_val_batches: object = None,
    limit_test_batches: object = None,
    limit_predict_batches: object = None,
    overfit_batches: object = 0.0,
    reload_dataloaders_every_n_epochs: object = 0,
) -> LimitsSpec:
    """Check the Trainer's arguments that limit a run; all of them may hold anything.

    Raises:
        MisconfigurationException: for a wrong value, or minima above maxima.
        TypeError: for a wrong type.

    >>> resolve_limits(fast_dev_run=2).max_steps
    2
    """
    spec = LimitsSpec(
        max_epochs=_optional_int("max_epochs", max_epochs, minimum=_NO_LIMIT),
        min_epochs=_optional_int("min_epochs", min_epochs, minimum=0),
        max_steps=check_int("max_steps", max_steps, minimum=_NO_LIMIT, accepted="an integer >= -1 (-1: no limit)"),
        min_steps=_optional_int("min_steps", min_steps, minimum=0),
        max_time=None if max_time is None else parse_duration("max_time", max_time),
        fast_dev_run=_check_fast_dev_run(fast_dev_run),
        limit_train_batches=_check_batches("limit_train_batches", limit_train_batches),
        limit_val_batches=_check_batches("limit_val_batches", limit_val_batches),
        limit_test_batches=_check_batches("limit_test_batches", limit_test_batches),
        limit_predict_batches=_check_batches("limit_predict_batches", limit_predict_batches),
        overfit_batches=check_fraction_or_count("overfit_batches", overfit_batches),
        reload_dataloaders_every_n_epochs=check_int(
            "reload_dataloaders_every_n_epochs",
            reload_dataloaders_every_n_epochs,
            minimum=0,
            wrong_type=MisconfigurationException,
        ),
    )
    _refuse_minimum_above_maximum("epochs", minimum=spec.min_epochs, maximum=spec.max_epochs)
    _refuse_minimum_above_maximum("steps", minimum=spec.min_steps, maximum=spec.max_steps)
    return _overfitting(_fast(spec))


def resolve_epochs(spec: LimitsSpec, has_timer: bool) -> tuple[int, int]:
    """Settle how many epochs at most and at least, when fitting starts; returns ``(max_epochs, min_epochs)``.

    Without any limit training ends after 1000 epochs, with a warning. -1 means no limit.

    Args:
        spec: the limits of the run.
        has_timer: whether a callback bounds the run's time.

    >>> resolve_epochs(resolve_limits(max_steps=7, min_steps=3), has_timer=False)
    (-1, 1)
    """
    min_epochs = spec.min_epochs
    if min_epochs is None:
        min_epochs = 0 if spec.min_steps is None else 1
    if spec.max_epochs is not None:
        return spec.max_epochs, min_epochs
    if spec.max_steps != _NO_LIMIT or spec.max_time is not None or has_timer:
        return _NO_LIMIT, min_epochs
    max_epochs = max(_DEFAULT_MAX_EPOCHS, min_epochs)
    rank_zero_warn(
        f"`max_epochs` was not set, so training ends after {max_epochs} epochs. "
        "Set `max_epochs` to what you want, or to -1 for no limit.",
        category=PossibleUserWarning,
    )
    return max_epochs, min_epochs


def _optional_int(name: str, value: object, *, minimum: int) -> int | None:
    if value is None:
        return None
    no_limit = " (-1: no limit)" if minimum == _NO_LIMIT else ""
    return check_int(name, value, minimum=minimum, accepted=f"an integer >= {minimum}{no_limit} or None")


def _check_fast_dev_run(value: object) -> bool | int:
    if isinstance(value, bool):
        return value
    count = check_int(
        "fast_dev_run",
        value,
        minimum=0,
        accepted="True, False, or a number of batches >= 0",
        wrong_type=MisconfigurationException,
    )
    return count if count > 1 else bool(count)


def _check_batches(name: str, value: object) -> int | float:
    """Return a limit of batches; 1 and 1.0 look alike and mean one batch and all of them, so both are said aloud."""
    if value is None:
        return 1.0
    limit = check_fraction_or_count(name, value, also=", or None for all")
    if is_int(limit) and limit == 1:
        rank_zero_info(f"`{name}=1` means 1 batch; write 1.0 for all batches.")
    elif limit == 1:
        rank_zero_info(f"`{name}=1.0` means all batches; write 1 for 1 batch.")
    return limit


def _refuse_minimum_above_maximum(of: str, *, minimum: int | None, maximum: int | None) -> None:
    if minimum is None or maximum is None or maximum == _NO_LIMIT or minimum <= maximum:
        return
    message = refusal(f"min_{of}", minimum, accepted=f"at most `max_{of}`, which is {maximum}")
    raise MisconfigurationException(message)


def _fast(spec: LimitsSpec) -> LimitsSpec:
    if not spec.fast_dev_run:
        return spec
    count = int(spec.fast_dev_run)
    return replace(
        spec,
        max_epochs=1,
        max_steps=count,
        limit_train_batches=count,
        limit_val_batches=count,
        limit_test_batches=count,
        limit_predict_batches=count,
    )


def _overfitting(spec: LimitsSpec) -> LimitsSpec:
    if not spec.overfit_batches:
        return spec
    return replace(spec, limit_train_batches=spec.overfit_batches, limit_val_batches=spec.overfit_batches)
