"""How a step is taken: accumulation, clipping, and the switches for reproducible data and arithmetic."""

from dataclasses import dataclass
from typing import Literal, cast

from lt_fabric.argument_checks import check_bool, check_choice, check_int, check_number
from lt_interfaces.rank_zero import rank_zero_warn


@dataclass(frozen=True)
class OptimizationSpec:
    """How gradients become steps, and how arithmetic is switched while they do."""

    accumulate_grad_batches: int
    gradient_clip_val: int | float | None
    """``None`` and 0 mean that nothing is clipped."""

    gradient_clip_algorithm: Literal["norm", "value"] | None
    """``None`` only where neither clipping argument was given."""

    detect_anomaly: bool
    deterministic: bool | Literal["warn"] | None
    """``None`` leaves torch's switch as it is."""

    benchmark: bool | None
    """For `torch.backends.cudnn.benchmark`; ``None`` leaves it as it is."""

    uneven_data: Literal["stop", "pad"]
    """What happens when some ranks have more training batches than others."""

    seed_items: bool | int | None
    """Whether generators are seeded for each item of the data, or with which seed; ``None``: as the datamodule says."""


def resolve_optimization(
    *,
    accumulate_grad_batches: object = 1,
    gradient_clip_val: object = None,
    gradient_clip_algorithm: object = None,
    detect_anomaly: object = False,
    deterministic: object = None,
    benchmark: object = None,
    seed_items: object = None,
    uneven_data: object = "stop",
) -> OptimizationSpec:
    """Check the Trainer's arguments about taking steps; all of them may hold anything.

    Raises:
        MisconfigurationException: for a wrong value.
        TypeError: for a wrong type.

    >>> resolve_optimization(gradient_clip_val=0.5).gradient_clip_algorithm
    'norm'
    """
    is_deterministic = _check_deterministic(deterministic)
    return OptimizationSpec(
        accumulate_grad_batches=check_int("accumulate_grad_batches", accumulate_grad_batches, minimum=1),
        gradient_clip_val=_check_clip_value(gradient_clip_val),
        gradient_clip_algorithm=_check_clip_algorithm(gradient_clip_algorithm, clips=gradient_clip_val is not None),
        detect_anomaly=check_bool("detect_anomaly", detect_anomaly),
        deterministic=is_deterministic,
        benchmark=_check_benchmark(benchmark, is_deterministic=bool(is_deterministic)),
        uneven_data=cast(Literal["stop", "pad"], check_choice("uneven_data", uneven_data, choices=["stop", "pad"])),
        seed_items=None if seed_items is None else check_seed_items(seed_items, also=" or None (the datamodule says)"),
    )


def check_seed_items(value: object, *, also: str = "") -> bool | int:
    """Return the switch or the seed.

    Args:
        value: what came.
        also: what the caller accepts beside it, for the message.

    >>> check_seed_items(True), check_seed_items(1)
    (True, 1)
    """
    if isinstance(value, bool):
        return value
    accepted = f"True (with the seed of `seed_everything`), False, an integer >= 0 (a seed){also}"
    return check_int("seed_items", value, minimum=0, accepted=accepted)


def _check_clip_value(value: object) -> int | float | None:
    if value is None:
        return None
    return check_number("gradient_clip_val", value, minimum=0, accepted="a finite number >= 0 or None")


def _check_clip_algorithm(value: object, *, clips: bool) -> Literal["norm", "value"] | None:
    if value is None:
        return "norm" if clips else None
    algorithm = check_choice("gradient_clip_algorithm", value, choices=["norm", "value"], also=", or None")
    return cast(Literal["norm", "value"], algorithm)


def _check_deterministic(value: object) -> bool | Literal["warn"] | None:
    if value is None or isinstance(value, bool):
        return value
    check_choice("deterministic", value, choices=["warn"], also=", True, False or None", wrong_type=TypeError)
    return "warn"


def _check_benchmark(value: object, *, is_deterministic: bool) -> bool | None:
    """Return the switch; where it's left open, deterministic arithmetic turns it off, since it picks what's fastest."""
    if value is None:
        return False if is_deterministic else None
    benchmark = check_bool("benchmark", value, accepted="True, False or None")
    if benchmark and is_deterministic:
        rank_zero_warn(
            "`benchmark=True` picks algorithms by their speed, so runs may differ although `deterministic` is set. "
            "Leave `benchmark` out for reproducible runs."
        )
    return benchmark
