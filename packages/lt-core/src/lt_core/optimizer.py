"""`LightningOptimizer`: the optimizer that modules get, which steps through the run."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from torch.optim import Optimizer

from lt_interfaces.errors import MisconfigurationException

Step = Callable[..., Any]


class LightningOptimizer:
    """Behaves like the optimizer it stands for, but `step` goes through the run: precision, hooks and counting.

    Made by `LightningOptimizer.wrap`, whose result is also an instance of the wrapped optimizer's class, so that
    ``isinstance(optimizer, torch.optim.SGD)`` and learning-rate schedulers work.

    Example::

        def training_step(self, batch, batch_idx):  # manual optimization
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            optimizer.step()
    """

    _optimizer: Optimizer
    _take_step: Step
    _toggle: Callable[[Any], AbstractContextManager[None]] | None

    @staticmethod
    def wrap(
        optimizer: Optimizer, take_step: Step, toggle: Callable[[Any], AbstractContextManager[None]] | None = None
    ) -> Any:
        """Return a proxy of the optimizer.

        Args:
            optimizer: what is wrapped; the proxy shares its state and param groups.
            take_step: called as ``take_step(closure, **kwargs)`` for each step.
            toggle: makes the context in which only this optimizer's parameters require grad.
        """
        name = type(optimizer).__name__
        cls: Any = type(f"Lightning{name}", (LightningOptimizer, type(optimizer)), {})
        proxy = cls.__new__(cls)
        # Nothing is copied: state and param groups are looked up in the wrapped optimizer, which may replace them.
        vars(proxy).update(_optimizer=optimizer, _take_step=take_step, _toggle=toggle)
        return proxy

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer this stands for."""
        return self._optimizer

    def step(self, closure: Callable[[], Any] | None = None, **kwargs: Any) -> Any:
        """Take one optimizer step.

        Args:
            closure: clears gradients, computes the loss and runs backward; ``None`` when the gradients are there.
            kwargs: for the optimizer's own ``step``.

        Raises:
            MisconfigurationException: when ``closure`` can't be called.
        """
        make_gradients: Any = _no_closure if closure is None else closure  # users may pass anything
        if not callable(make_gradients):
            message = f"`optimizer.step(closure={closure!r})`: the closure must be a function or None."
            raise MisconfigurationException(message)
        return self._take_step(make_gradients, **kwargs)

    @contextmanager
    def toggle_model(self, sync_grad: bool = True) -> Iterator[None]:
        """Let only this optimizer's parameters require grad within the context.

        Args:
            sync_grad: ``False`` accumulates on each rank without synchronising gradients.
        """
        if self._toggle is None:
            message = "`toggle_model` needs a running Trainer."
            raise RuntimeError(message)
        with self._toggle(sync_grad):
            yield

    def __getattr__(self, name: str) -> Any:
        if name == "_optimizer":
            raise AttributeError(name)
        return getattr(self._optimizer, name)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As `torch.optim.Optimizer.load_state_dict`, of the wrapped optimizer."""
        self._optimizer.load_state_dict(state_dict)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "step":  # torch's schedulers wrap the step of what they're given; the wrapped one keeps its own
            vars(self)[name] = value
        else:
            setattr(self._optimizer, name, value)

    def __repr__(self) -> str:
        return f"Lightning{self._optimizer!r}"


def _no_closure() -> None:
    """Stand for the closure when gradients are there already."""
