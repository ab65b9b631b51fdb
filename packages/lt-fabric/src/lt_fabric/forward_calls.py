"""Noticing a method that calls submodules past the strategy's wrapper."""

from collections.abc import Callable
from functools import wraps
from types import MethodType
from typing import Any, NoReturn

from torch import nn


def refusing_forward_calls(method: MethodType, module: nn.Module) -> Callable[..., Any]:
    """Return the method so that it raises when it calls a submodule.

    The strategy would not hear of that call: gradients wouldn't be synchronised, shards not gathered.

    Args:
        method: a method of the module.
        module: the user's module.
    """
    name = f"{type(module).__name__}.{method.__name__}"

    def refuse(submodule: nn.Module, _: Any) -> NoReturn:
        message = (
            f"`{name}()` calls the submodule {type(submodule).__name__}, but doesn't run through the strategy's "
            f"wrapper. Call `mark_forward_method('{method.__name__}')` on the set-up module first."
        )
        raise RuntimeError(message)

    @wraps(method)
    def watched(*args: Any, **kwargs: Any) -> Any:
        hooks = [submodule.register_forward_pre_hook(refuse) for submodule in module.modules()]
        try:
            return method(*args, **kwargs)
        finally:
            for hook in hooks:
                hook.remove()

    return watched
