"""How evaluation is set: how often training is interrupted for validation, the sanity check, inference mode."""

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from lt_core.specs.durations import is_duration, parse_duration
from lt_fabric.argument_checks import check_bool, check_fraction_or_count, check_int, refusal
from lt_interfaces.errors import MisconfigurationException

_INTERVAL: Final = (
    "an integer >= 1 (a number of batches), a float above 0.0 and up to 1.0 (a fraction of an epoch), a duration above "
    "zero ('DD:HH:MM:SS', a timedelta, or a dict of its keyword arguments), or None for 1.0"
)


@dataclass(frozen=True)
class EvaluationSpec:
    """How often validation runs during fitting, and how evaluation computes."""

    val_check_interval: int | float | timedelta
    """A number of batches, a fraction of an epoch, or a time."""

    check_val_every_n_epoch: int | None
    """``None``: the interval counts batches across epochs."""

    num_sanity_val_steps: int | float
    """Batches of each validation loader before training; ``math.inf`` for all of them."""

    inference_mode: bool
    """Whether validate, test and predict run under `torch.inference_mode` rather than `torch.no_grad`."""


def resolve_evaluation(
    *,
    val_check_interval: object = None,
    check_val_every_n_epoch: object = 1,
    num_sanity_val_steps: object = None,
    inference_mode: object = True,
) -> EvaluationSpec:
    """Check the Trainer's arguments about evaluation; all of them may hold anything.

    Raises:
        MisconfigurationException: for a wrong value, or a fraction of an epoch where batches are counted across epochs.
        TypeError: for a wrong type.

    >>> resolve_evaluation(val_check_interval="00:01:00:00").val_check_interval
    datetime.timedelta(seconds=3600)
    """
    interval = _check_interval(val_check_interval)
    epochs = _check_epochs(check_val_every_n_epoch)
    if epochs is None and isinstance(interval, float) and val_check_interval is not None:
        message = refusal(
            "val_check_interval",
            interval,
            accepted="a number of batches or a duration with `check_val_every_n_epoch=None`",
            hint=" A fraction of an epoch can't be counted across epochs.",
        )
        raise MisconfigurationException(message)
    return EvaluationSpec(
        val_check_interval=interval,
        check_val_every_n_epoch=epochs,
        num_sanity_val_steps=_check_sanity_steps(num_sanity_val_steps),
        inference_mode=check_bool("inference_mode", inference_mode),
    )


def _check_interval(value: object) -> int | float | timedelta:
    if value is None:
        return 1.0
    if is_duration(value):
        return parse_duration("val_check_interval", value, accepted=_INTERVAL)
    interval = check_fraction_or_count("val_check_interval", value, accepted=_INTERVAL)
    if interval == 0:
        hint = " To switch validation off set `limit_val_batches=0`."
        message = refusal("val_check_interval", value, accepted=_INTERVAL, hint=hint)
        raise MisconfigurationException(message)
    return interval


def _check_epochs(value: object) -> int | None:
    if value is None:
        return None
    return check_int(
        "check_val_every_n_epoch",
        value,
        minimum=1,
        accepted="an integer >= 1, or None to count batches across epochs",
        wrong_type=MisconfigurationException,
    )


def _check_sanity_steps(value: object) -> int | float:
    if value is None:
        return 2
    steps = check_int("num_sanity_val_steps", value, minimum=-1, accepted="an integer >= -1 (-1: all batches) or None")
    return math.inf if steps == -1 else steps
