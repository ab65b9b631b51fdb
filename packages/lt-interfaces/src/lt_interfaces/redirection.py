"""Running a step of a module through the forward of what wraps it."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn


class StepRedirection:
    """Calls a step such as ``training_step`` so that every hook on the way to the module's ``forward`` fires.

    Wrappers like DistributedDataParallel, and modules that were sharded in place, do their work around ``forward``. The
    redirection calls the wrapper; for that one call the original's ``forward`` is the step. As soon as the step
    starts, ``forward`` is the module's own again, so a step that calls ``self(x)`` gets what it expects, and so does
    everybody after an exception.

    Wrappers may be nested, as long as the outermost one reaches the original's ``__call__`` once. One that compiles or
    replays its forward sees a different function per call; such a wrapper belongs inside.

    Args:
        wrapper: what to call; the original itself where its own ``__call__`` has the hooks.
        original: the module that has the step; its ``forward`` is called by the wrapper at the end.
        name: the step.
        explain: told of a `RuntimeError` on its way out, to add a note where it can say more.

    >>> class Net(nn.Module):
    ...     def training_step(self, batch):
    ...         return batch + 1
    >>> net = Net()
    >>> StepRedirection(nn.Sequential(net), net, name="training_step")(1)
    2
    """

    def __init__(
        self,
        wrapper: nn.Module,
        original: nn.Module,
        *,
        name: str,
        explain: Callable[[RuntimeError], None] | None = None,
    ) -> None:
        self._wrapper = wrapper
        self._original = original
        self._name = name
        self._explain = explain

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the step with these arguments and return what the wrapper returns.

        Raises:
            RuntimeError: the wrapper ended without reaching the original's ``forward``.
        """
        # An instance's attribute wins over the class's method; vars() leaves out the checks of nn.Module.__setattr__.
        attributes = vars(self._original)
        restore = (
            partial(attributes.__setitem__, "forward", attributes["forward"])
            if "forward" in attributes
            else partial(attributes.pop, "forward")
        )
        step = getattr(self._original, self._name)
        reached = False

        def run_step(*step_args: Any, **step_kwargs: Any) -> Any:
            nonlocal reached
            reached = True
            restore()
            return step(*step_args, **step_kwargs)

        attributes["forward"] = run_step
        try:
            output = self._wrapper(*args, **kwargs)
        except RuntimeError as error:
            if self._explain is not None:
                self._explain(error)
            raise
        finally:
            if not reached:
                restore()
        if not reached:
            message = (
                f"`{self._name}` was not run: {type(self._wrapper).__name__} never called `forward` of "
                f"{type(self._original).__name__}. Is it a wrapper of this very module?"
            )
            raise RuntimeError(message)
        return output
