"""What ``configure_optimizers`` returned, in any of its forms, as lists of optimizers and scheduler settings."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeGuard

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.rank_zero import rank_zero_warn
from lt_interfaces.scheduling import LRSchedulerConfig
from lt_interfaces.spelling import did_you_mean

_OPTIMIZER_ATTRIBUTES: Final = ("param_groups", "defaults", "state", "state_dict", "load_state_dict", "step")
_KEYS: Final = ("optimizer", "lr_scheduler", "monitor")


@dataclass(frozen=True)
class ConfiguredOptimizers:
    """The optimizers of a run with their schedulers."""

    optimizers: list[Optimizer] = field(default_factory=list)
    schedulers: list[LRSchedulerConfig] = field(default_factory=list)
    optimizer_indices: list[int] = field(default_factory=list)
    """For each scheduler, the place of its optimizer in `optimizers`."""


class NoOptimizer(Optimizer):
    """Stands in where ``configure_optimizers`` returned ``None``: a step runs the closure and changes nothing.

    >>> NoOptimizer().step(lambda: 0.5)
    0.5
    """

    def __init__(self) -> None:
        super().__init__([torch.zeros(1)], {})  # torch refuses an optimizer that never had a parameter
        self.param_groups.clear()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        return None if closure is None else closure()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear nothing: it has no parameters."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Ignore what another run's optimizer left."""


def configured_optimizers(returned: Any, *, automatic: bool, overrides_scheduler_step: bool) -> ConfiguredOptimizers:
    """Read the value of ``configure_optimizers``, called once when fitting is put together.

    Accepted are an optimizer; a list or tuple of optimizers; a pair of a list of optimizers and one or several
    schedulers; a dict with ``"optimizer"`` and, if wanted, ``"lr_scheduler"`` and ``"monitor"``; a list or tuple of
    such dicts; ``None``, with a warning. A scheduler is given as it is or as a dict of `LRSchedulerConfig`'s fields.

    Args:
        returned: what the user's method returned.
        automatic: whether the loop steps the optimizer and its schedulers.
        overrides_scheduler_step: whether the module has its own ``lr_scheduler_step``, which may step any scheduler.

    Raises:
        MisconfigurationException: another form, a scheduler of an optimizer that wasn't returned, one that watches a
            metric without ``monitor``, or one that isn't torch's and that nothing knows how to step.
        RuntimeError: several optimizers with automatic optimization.
        TypeError: a scheduler without ``state_dict`` and ``load_state_dict``.

    >>> from torch import nn, optim
    >>> sgd = optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    >>> schedule = {"scheduler": optim.lr_scheduler.StepLR(sgd, 5), "interval": "step"}
    >>> read = configured_optimizers(
    ...     {"optimizer": sgd, "lr_scheduler": schedule}, automatic=True, overrides_scheduler_step=False
    ... )
    >>> read.optimizers == [sgd], read.schedulers[0].interval, read.optimizer_indices
    (True, 'step', [0])
    """
    if returned is None:
        rank_zero_warn(
            "`configure_optimizers` returned None: this fit runs without an optimizer. "
            "Return one, or set `self.automatic_optimization = False` and step your own."
        )
        return ConfiguredOptimizers(optimizers=[NoOptimizer()])
    optimizers, given = _optimizers_and_schedulers(returned)
    if automatic and len(optimizers) > 1:
        message = (
            f"`configure_optimizers` returned {len(optimizers)} optimizers, but automatic optimization steps one. "
            "Set `self.automatic_optimization = False` in `__init__` and step them in `training_step`, "
            "or put all parameters into groups of one optimizer."
        )
        raise RuntimeError(message)
    read = LRSchedulerConfig.for_automatic_optimization if automatic else LRSchedulerConfig.for_manual_optimization
    schedulers = [read(settings) for settings in given]
    indices = [_index_of_optimizer(config.scheduler, optimizers) for config in schedulers]
    if automatic and not overrides_scheduler_step:
        _check_steppable(schedulers)
    return ConfiguredOptimizers(optimizers, schedulers, indices)


def _optimizers_and_schedulers(returned: Any) -> tuple[list[Optimizer], list[Mapping[str, Any]]]:
    if _is_optimizer(returned):
        return [returned], []
    if isinstance(returned, Mapping):
        return [_optimizer_of(returned)], list(_scheduler_of(returned))
    if isinstance(returned, list | tuple) and returned:
        if all(isinstance(item, Mapping) for item in returned):
            return [_optimizer_of(item) for item in returned], [one for item in returned for one in _scheduler_of(item)]
        if _are_optimizers(returned):
            return list(returned), []
        if len(returned) == 2 and _are_optimizers(returned[0]):
            optimizers, schedulers = returned
            several = schedulers if isinstance(schedulers, list | tuple) else [schedulers]
            return list(optimizers), [_settings(scheduler) for scheduler in several]
    raise MisconfigurationException(_unknown_form(returned))


def _is_optimizer(value: object) -> bool:
    return all(hasattr(value, name) for name in _OPTIMIZER_ATTRIBUTES)


def _are_optimizers(value: object) -> TypeGuard[Sequence[Optimizer]]:
    return isinstance(value, list | tuple) and bool(value) and all(map(_is_optimizer, value))


def _optimizer_of(given: Mapping[str, Any]) -> Optimizer:
    optimizer = given.get("optimizer")
    if not _is_optimizer(optimizer):
        raise MisconfigurationException(_unknown_form(given))
    for key in given:
        if key not in _KEYS:
            message = f"`{key}` from `configure_optimizers` is unknown and does nothing.{did_you_mean(str(key), _KEYS)}"
            rank_zero_warn(message, category=RuntimeWarning)
    return optimizer  # type: ignore[return-value]  # has all an optimizer has, as just checked


def _scheduler_of(given: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the settings of the scheduler, if there is one; a ``monitor`` beside it counts unless it has its own."""
    if "lr_scheduler" not in given:
        return
    scheduler = given["lr_scheduler"]
    settings = dict(_settings(scheduler))
    watches = settings.get("reduce_on_plateau") or isinstance(settings.get("scheduler"), ReduceLROnPlateau)
    if watches and given.get("monitor") is not None:
        settings.setdefault("monitor", given["monitor"])
    yield settings


def _settings(scheduler: Any) -> Mapping[str, Any]:
    return scheduler if isinstance(scheduler, Mapping) else {"scheduler": scheduler}


def _index_of_optimizer(scheduler: Any, optimizers: list[Optimizer]) -> int:
    optimizer = getattr(scheduler, "optimizer", optimizers[0])
    for index, candidate in enumerate(optimizers):
        if candidate is optimizer:
            return index
    message = (
        f"`configure_optimizers` returned a {type(scheduler).__name__} for an optimizer that it didn't return. "
        "Return that optimizer too, or make the scheduler with the one you return."
    )
    raise MisconfigurationException(message)


def _check_steppable(schedulers: list[LRSchedulerConfig]) -> None:
    for config in schedulers:
        if not isinstance(config.scheduler, LRScheduler | ReduceLROnPlateau):
            message = (
                f"The scheduler {type(config.scheduler).__name__} isn't one of torch's: "
                "say how to step it by overriding `lr_scheduler_step(self, scheduler, metric)`."
            )
            raise MisconfigurationException(message)


def _unknown_form(returned: object) -> str:
    return (
        f"`configure_optimizers` returned {returned!r}. Return an optimizer, a list of optimizers, "
        "a pair (list of optimizers, list of schedulers), a dict with the key `optimizer` and, if wanted, "
        "`lr_scheduler` and `monitor`, a list of such dicts, or None."
    )
