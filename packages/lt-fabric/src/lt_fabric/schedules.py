"""Warm-up of learning rates, as schedulers of torch for the Trainer, for Fabric and for a loop without either.

All of them compute the rate of a step from its number alone, as a factor of each parameter group's own rate: nothing
adds up or drifts, and a scheduler that's loaded goes on exactly. What they share:

- Steps are calls of ``step()``, counted from 0. With ``"interval": "step"`` the Trainer makes one per optimizer step,
  whatever the accumulation.
- ``warmup_steps`` steps are taken below the optimizer's rate, the next one, number ``warmup_steps``, at exactly that
  rate. torch's `LinearLR` counts its ``total_iters`` in the same way.
- The first step is never lost by itself: ``start_factor``, the factor of step 0, is 1 / (warmup_steps + 1) unless it's
  given. Only ``LinearWarmup`` and ``CosineWithWarmup`` can start at 0, with ``start_factor=0``.
- ``state_dict`` holds numbers, flags and lists of numbers. As with torch's schedulers, loading it brings back the
  arguments too.
- With ``warmup_steps=0`` there's no warm-up.
"""

import math

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lt_fabric.argument_checks import check_int, check_number, refusal
from lt_interfaces.errors import MisconfigurationException


class LinearWarmup(LRScheduler):
    """Raise the rate by equal amounts from step to step, then keep it (Goyal et al., arXiv:1706.02677, section 2.2).

    The factor of step ``n`` is ``start_factor + (1 - start_factor) * n / warmup_steps``; by default that's
    (n + 1) / (warmup_steps + 1).

    Put it before another schedule with torch's `SequentialLR`. `ChainedScheduler` doesn't fit: it needs schedulers that
    multiply the rate they find.

    Args:
        optimizer: the optimizer, with the rates to be reached; each parameter group has its own.
        warmup_steps: number of steps below these rates, >= 0.
        start_factor: factor of the first step, from 0 to 1; None means 1 / (warmup_steps + 1).
        last_epoch: number of the last step that was taken, -1 for none, as in all schedulers of torch.

    Raises:
        TypeError: an argument isn't a number of the right kind, or ``optimizer`` isn't one.
        MisconfigurationException: a number out of its range.
        KeyError: ``last_epoch`` is given for an optimizer that has had no scheduler.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=1.0)
    >>> scheduler = LinearWarmup(optimizer, warmup_steps=3)
    >>> for _ in range(5):
    ...     print(scheduler.get_last_lr())
    ...     optimizer.step()
    ...     scheduler.step()
    [0.25]
    [0.5]
    [0.75]
    [1.0]
    [1.0]
    """

    def __init__(
        self, optimizer: Optimizer, warmup_steps: int, *, start_factor: float | None = None, last_epoch: int = -1
    ) -> None:
        self.warmup_steps = check_int("warmup_steps", warmup_steps, minimum=0)
        self.start_factor = _checked_start(start_factor, self.warmup_steps)
        super().__init__(optimizer, check_int("last_epoch", last_epoch, minimum=-1))

    def get_lr(self) -> list[float | Tensor]:
        """Return the rate of each parameter group at step ``last_epoch``."""
        factor = _linear_factor(self.last_epoch, self.warmup_steps, self.start_factor)
        return [rate * factor for rate in self.base_lrs]


class ExponentialWarmup(LRScheduler):
    """Multiply the rate by the same number from step to step, until it's reached, then keep it.

    The factor of step ``n`` is ``start_factor ** (1 - n / warmup_steps)``: it spends more steps at small rates than
    ``LinearWarmup`` between the same ends.

    Args:
        optimizer: the optimizer, with the rates to be reached; each parameter group has its own.
        warmup_steps: number of steps below these rates, >= 0.
        start_factor: factor of the first step, above 0 and at most 1; None means 1 / (warmup_steps + 1).
        last_epoch: number of the last step that was taken, -1 for none, as in all schedulers of torch.

    Raises:
        TypeError: an argument isn't a number of the right kind, or ``optimizer`` isn't one.
        MisconfigurationException: a number out of its range.
        KeyError: ``last_epoch`` is given for an optimizer that has had no scheduler.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=1.0)
    >>> scheduler = ExponentialWarmup(optimizer, warmup_steps=2, start_factor=0.0625)
    >>> for _ in range(4):
    ...     print(scheduler.get_last_lr())
    ...     optimizer.step()
    ...     scheduler.step()
    [0.0625]
    [0.25]
    [1.0]
    [1.0]
    """

    def __init__(
        self, optimizer: Optimizer, warmup_steps: int, *, start_factor: float | None = None, last_epoch: int = -1
    ) -> None:
        self.warmup_steps = check_int("warmup_steps", warmup_steps, minimum=0)
        self.start_factor = _checked_start(start_factor, self.warmup_steps, may_be_zero=False)
        super().__init__(optimizer, check_int("last_epoch", last_epoch, minimum=-1))

    def get_lr(self) -> list[float | Tensor]:
        """Return the rate of each parameter group at step ``last_epoch``."""
        factor = _exponential_factor(self.last_epoch, self.warmup_steps, self.start_factor)
        return [rate * factor for rate in self.base_lrs]


class CosineWithWarmup(LRScheduler):
    """Raise the rate as ``LinearWarmup`` does, then lower it along half a cosine.

    Step ``warmup_steps`` has the optimizer's rate, step ``total_steps`` and all after it have ``end_factor`` of that.
    In a run of ``total_steps`` steps the last one, number ``total_steps - 1``, is a little above the minimum, so it
    isn't lost with ``end_factor=0`` either. In the Trainer, ``total_steps=self.trainer.estimated_stepping_batches``
    fits a run whose length is known. The curve is that of Loshchilov and Hutter, arXiv:1608.03983, without restarts.

    Args:
        optimizer: the optimizer, with the rates to be reached; each parameter group has its own.
        warmup_steps: number of steps below these rates, >= 0 and < ``total_steps``.
        total_steps: number of steps until the minimum, warm-up included.
        start_factor: factor of the first step, from 0 to 1; None means 1 / (warmup_steps + 1).
        end_factor: the minimum as a factor of each group's rate, from 0 to 1. (torch's `CosineAnnealingLR` takes
            it as a rate, ``eta_min``.)
        last_epoch: number of the last step that was taken, -1 for none, as in all schedulers of torch.

    Raises:
        TypeError: an argument isn't a number of the right kind, or ``optimizer`` isn't one.
        MisconfigurationException: a number out of its range.
        KeyError: ``last_epoch`` is given for an optimizer that has had no scheduler.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=1.0)
    >>> scheduler = CosineWithWarmup(optimizer, warmup_steps=1, total_steps=3, end_factor=0.5)
    >>> for _ in range(5):
    ...     print(scheduler.get_last_lr())
    ...     optimizer.step()
    ...     scheduler.step()
    [0.5]
    [1.0]
    [0.75]
    [0.5]
    [0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_steps: int,
        *,
        total_steps: int,
        start_factor: float | None = None,
        end_factor: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        self.warmup_steps = check_int("warmup_steps", warmup_steps, minimum=0)
        self.total_steps = check_int("total_steps", total_steps, minimum=1)
        if self.warmup_steps >= self.total_steps:
            message = refusal(
                "warmup_steps",
                warmup_steps,
                accepted=f"an integer from 0 to {total_steps - 1}, below `total_steps` ({total_steps})",
                hint=" The rate needs at least one step to come down again.",
            )
            raise MisconfigurationException(message)
        self.start_factor = _checked_start(start_factor, self.warmup_steps)
        self.end_factor = _checked_factor("end_factor", end_factor, accepted=_FROM_ZERO)
        super().__init__(optimizer, check_int("last_epoch", last_epoch, minimum=-1))

    def get_lr(self) -> list[float | Tensor]:
        """Return the rate of each parameter group at step ``last_epoch``."""
        step = self.last_epoch
        if step < self.warmup_steps:
            factor = _linear_factor(step, self.warmup_steps, self.start_factor)
        else:
            done = (step - self.warmup_steps) / (self.total_steps - self.warmup_steps)
            factor = _cosine_factor(done, self.end_factor)
        return [rate * factor for rate in self.base_lrs]


def _linear_factor(step: int, warmup_steps: int, start: float) -> float:
    if step >= warmup_steps:
        return 1.0
    return start + (1 - start) * (step / warmup_steps)


def _exponential_factor(step: int, warmup_steps: int, start: float) -> float:
    if step >= warmup_steps:
        return 1.0
    return float(start ** (1 - step / warmup_steps))


def _cosine_factor(done: float, end: float) -> float:
    # Added to the end, so that rounding never leads below it; 1 - end + end is 1 for every float.
    return end + (1 - end) * (1 + math.cos(math.pi * min(done, 1))) / 2


_FROM_ZERO = "a finite number from 0 to 1"
_ABOVE_ZERO = "a finite number above 0, up to 1"


def _checked_start(start_factor: object, warmup_steps: int, *, may_be_zero: bool = True) -> float:
    if start_factor is None:
        return 1 / (warmup_steps + 1)
    accepted = f"{_FROM_ZERO if may_be_zero else _ABOVE_ZERO}, or None for 1 / (warmup_steps + 1)"
    start = _checked_factor("start_factor", start_factor, accepted=accepted)
    if start == 0 and not may_be_zero:
        hint = " No number multiplies 0 up to the rate; `LinearWarmup` can start there."
        message = refusal("start_factor", start_factor, accepted=accepted, hint=hint)
        raise MisconfigurationException(message)
    return start


def _checked_factor(name: str, value: object, *, accepted: str) -> float:
    factor = check_number(name, value, minimum=0, accepted=accepted)
    if factor > 1:
        message = refusal(name, value, accepted=accepted)
        raise MisconfigurationException(message)
    return float(factor)
