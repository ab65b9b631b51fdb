"""Creating modules without filling their weights."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

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
