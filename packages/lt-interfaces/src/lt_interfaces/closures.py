"""Optimizer steps whose gradients come first: what a closure made is ready, and prepared, before the update."""

from collections.abc import Callable
from functools import cache
from typing import Any

from torch.optim import LBFGS, Optimizer


def update_after_gradients(
    optimizer: Optimizer,
    loss: Any,
    *,
    closure: Callable[[], Any],
    before_step: Callable[[Optimizer], None],
    **kwargs: Any,
) -> Any:
    """Update weights as `Precision.optimizer_step` says, once the closure was called and `before_step` after it.

    An optimizer that evaluates its closure again, such as LBFGS, gets gradients that were prepared again.

    Args:
        optimizer: what is stepped.
        loss: what the closure returned.
        closure: makes the gradients and returns the loss.
        before_step: called with the optimizer once gradients are there.
        kwargs: for the optimizer's own ``step``.

    Returns:
        The loss, or what an optimizer that took the closure returned.
    """
    if steps_without_closure(type(optimizer)):  # type: ignore[arg-type]  # a class is hashable
        optimizer.step(**kwargs)
        return loss
    at_hand = [loss]

    def loss_or_again() -> Any:
        if at_hand:
            return at_hand.pop()
        loss = closure()
        before_step(optimizer)
        return loss

    return optimizer.step(loss_or_again, **kwargs)


@cache
def steps_without_closure(kind: type[Optimizer]) -> bool:
    """Say whether this kind of optimizer is known to need its closure for nothing but the gradients.

    That's torch's own, except LBFGS; a stranger's may evaluate it again, so it always gets it.

    >>> from torch.optim import SGD
    >>> steps_without_closure(SGD), steps_without_closure(LBFGS)
    (True, False)
    """
    return kind.__module__.startswith("torch.optim.") and not issubclass(kind, LBFGS)
