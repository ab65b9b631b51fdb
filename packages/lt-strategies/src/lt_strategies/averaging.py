"""Weights averaged over ranks every so many steps, for gradients that stay local in between (post-local SGD)."""

from typing import Any, Final

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
        self._averagers: Final[dict[int, PeriodicModelAverager]] = {}

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
        averager = self._averagers.get(id(optimizer))
        if averager is None:
            averager = PeriodicModelAverager(self._period, warmup_steps=self._start)
            self._averagers[id(optimizer)] = averager
        for group in optimizer.param_groups:
            averager.average_parameters(group["params"])
            averager.step -= 1  # it counts calls, and a step has as many as groups
        averager.step += 1
