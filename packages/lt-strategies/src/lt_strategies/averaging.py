"""Weights averaged over ranks every so many steps, for gradients that stay local in between (post-local SGD)."""

from typing import Any, Final
from weakref import WeakKeyDictionary

from torch.distributed.algorithms.ddp_comm_hooks.post_localSGD_hook import PostLocalSGDState
from torch.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager
from torch.optim import Optimizer

from lt_interfaces import MisconfigurationException


class ModelAveraging:
    """Averages an optimizer's parameters over ranks every `period` steps, once gradients are no longer averaged.

    Source: Lin et al., "Don't Use Large Mini-Batches, Use Local SGD" (2020), as torch's communication hook has it.

    Args:
        state: the state of torch's post-local-SGD hook.
        period: steps between two averages.
    """

    def __init__(self, state: PostLocalSGDState, period: int) -> None:
        self._period: Final = period
        self._start: Final = state.start_localSGD_iter
        # A strategy outlives the optimizers of its runs, and each begins to count afresh.
        self._averagers: Final[WeakKeyDictionary[Optimizer, PeriodicModelAverager]] = WeakKeyDictionary()

    @classmethod
    def of(cls, state: Any, period: int | None) -> "ModelAveraging | None":
        """Return the averaging that these arguments of a strategy ask for, ``None`` for none.

        Raises:
            MisconfigurationException: when only one of the two is there.
        """
        is_local = isinstance(state, PostLocalSGDState)
        if period is None and not is_local:
            return None
        if period is None or not is_local:
            message = (
                f"`model_averaging_period={period}` goes with `ddp_comm_state=PostLocalSGDState(...)` and torch's "
                "`post_localSGD_hook`; give both, or neither."
            )
            raise MisconfigurationException(message)
        return cls(state, period)

    def after_step(self, optimizer: Optimizer) -> None:
        """Count a step of an optimizer, and average its parameters if it's time. Collective."""
        averager = self._averagers.get(optimizer)
        if averager is None:
            averager = PeriodicModelAverager(self._period, warmup_steps=self._start)
            self._averagers[optimizer] = averager
        if any(parameter.grad is not None for group in optimizer.param_groups for parameter in group["params"]):
            averager.average_parameters(optimizer.param_groups)  # it counts the step
        else:
            averager.step += 1  # torch averages no empty list
