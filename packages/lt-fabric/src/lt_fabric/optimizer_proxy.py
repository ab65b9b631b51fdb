"""The optimizer that Fabric hands out: the user's own, stepped through the strategy."""

from collections.abc import Callable, Iterable
from typing import Any

from torch.optim import Optimizer

from lt_interfaces import Strategy


class FabricOptimizer:
    """Looks like the user's optimizer and shares its state, but `step` goes through the strategy and the precision.

    Made by `wrap_optimizer`, as an instance of a class ``Fabric<Name>`` that also derives from the optimizer's own, so
    that ``isinstance`` and learning-rate schedulers take it for what it stands for.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        strategy: Strategy,
        *,
        callbacks: Iterable[Any],
        before_step: Callable[[Optimizer], None],
    ) -> None:
        # Past `__setattr__`, which passes everything else on to the optimizer. The optimizer's own `__init__` isn't
        # called: what it sets is found in the optimizer.
        vars(self).update(optimizer=optimizer, _strategy=strategy, _callbacks=callbacks, _before_step=before_step)

    def __getattr__(self, name: str) -> Any:
        if "optimizer" not in vars(self):  # while being copied
            raise AttributeError(name)
        return getattr(vars(self)["optimizer"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        # A scheduler replaces `step` to count calls: it must count those of this object.
        if name == "step":
            vars(self)[name] = value
        else:
            setattr(self.optimizer, name, value)

    def __repr__(self) -> str:
        return f"Fabric{self.optimizer!r}"

    def step(self, closure: Callable[[], Any] | None = None, **kwargs: Any) -> Any:
        """Take one step; see `torch.optim.Optimizer.step`.

        Afterwards every callback's ``on_after_optimizer_step(strategy, optimizer)`` is called.
        """
        output = self._strategy.optimizer_step(self.optimizer, closure or _make_nothing, self._before_step, **kwargs)
        for callback in self._callbacks:
            hear = getattr(callback, "on_after_optimizer_step", None)
            if callable(hear):
                hear(strategy=self._strategy, optimizer=self.optimizer)
        return output

    def state_dict(self) -> dict[str, Any]:
        """Return the optimizer's state."""
        state: dict[str, Any] = self.optimizer.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self.optimizer.load_state_dict(state_dict)


def _let_pass(optimizer: Optimizer) -> None:
    """Stand for the work before an update where there's none."""


def wrap_optimizer(
    optimizer: Optimizer,
    strategy: Strategy,
    *,
    callbacks: Iterable[Any] = (),
    before_step: Callable[[Optimizer], None] = _let_pass,
) -> Optimizer:
    """Return a `FabricOptimizer` that is an instance of the optimizer's class too.

    Args:
        optimizer: the user's.
        strategy: what steps it.
        callbacks: told after each step.
        before_step: called with the optimizer once gradients are there, before the update.

    >>> import torch
    >>> from lt_fabric.single_device import SingleDeviceStrategy
    >>> wrapped = wrap_optimizer(torch.optim.SGD([torch.zeros(1)], lr=0.1), SingleDeviceStrategy())
    >>> type(wrapped).__name__, isinstance(wrapped, torch.optim.SGD)
    ('FabricSGD', True)
    """
    kind = type(optimizer)
    proxy = type(f"Fabric{kind.__name__}", (FabricOptimizer, kind), {})
    wrapped: Optimizer = proxy(optimizer, strategy, callbacks=callbacks, before_step=before_step)
    return wrapped


def unwrap_optimizer(optimizer: Optimizer) -> Optimizer:
    """Return the user's own optimizer."""
    if isinstance(optimizer, FabricOptimizer):
        inner: Optimizer = optimizer.optimizer
        return inner
    return optimizer


def _make_nothing() -> None:
    """Stand for the closure of users who run backward themselves."""
