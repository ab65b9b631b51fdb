"""Creating modules without filling their weights."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class EmptyInit(TorchFunctionMode):
    """A context in which ``torch.nn.init`` leaves weights as they are, where torch lets itself be asked.

    Saves the time for weights that a checkpoint fills anyway. Linear, convolution and embedding layers are covered;
    Xavier and orthogonal weights are filled all the same.

    >>> from torch import nn
    >>> with EmptyInit():
    ...     layer = nn.Linear(1000, 1000)
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


@contextmanager
def on_device(device: torch.device, *, empty_init: bool | None = None) -> Iterator[None]:
    """Create modules on a device, with ``empty_init`` without filling their weights.

    >>> with on_device(torch.device("meta")):
    ...     torch.nn.Linear(1, 1).weight.device
    device(type='meta')
    """
    with ExitStack() as stack:
        stack.enter_context(device)
        if empty_init:
            stack.enter_context(EmptyInit())
        yield
