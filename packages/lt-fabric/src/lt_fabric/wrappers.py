"""The module that Fabric hands out, and how what was set up is recognised."""

from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any, Final

from torch import nn

from lt_fabric.compiled import unwrap_compiled
from lt_fabric.data.fabric_loader import FabricDataLoader
from lt_fabric.forward_calls import refusing_forward_calls
from lt_fabric.optimizer_proxy import FabricOptimizer
from lt_interfaces import Precision, Strategy

_STEP_METHODS: Final = ("training_step", "validation_step", "test_step", "predict_step")
_OWN: Final = ("_forward_module", "_forward_methods", "_bound_methods", "_strategy", "_precision")


class FabricModule(nn.Module):
    """A set-up module: calls run in the strategy's layout and the precision's formats; the rest is the user's module.

    Attributes are read from and written to the user's module, so is the state dict. Methods that call submodules must
    be known to run like ``forward``: the four ``*_step`` methods are, others are marked by `mark_forward_method`.

    Args:
        forward_module: what the strategy made of the module; may be the module itself.
        original: the user's module.
        strategy: how calls of methods reach the wrapped module.
        precision: converts inputs and outputs.
    """

    module: nn.Module
    """The user's module."""

    def __init__(
        self, forward_module: nn.Module, original: nn.Module, *, strategy: Strategy, precision: Precision
    ) -> None:
        super().__init__()
        # Not a submodule: its parameters must appear once.
        vars(self)["module"] = original
        self._forward_module = forward_module
        self._strategy = strategy
        self._precision = precision
        self._forward_methods = set(_STEP_METHODS)
        self.training = original.training

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the user's module with inputs and outputs converted."""
        return self._run(self._forward_module, *args, **kwargs)

    def mark_forward_method(self, method: str | Callable[..., Any]) -> None:
        """Let a method run like ``forward``: through the strategy's wrapper and in the precision's formats.

        Args:
            method: its name, or the method itself.

        Raises:
            AttributeError: when the module has no such method.
            TypeError: for something that is no method.
            ValueError: for ``forward`` itself.
        """
        if not isinstance(method, str | MethodType):
            message = f"`method` must be a method of the module or its name, not {method!r}."
            raise TypeError(message)
        name = method if isinstance(method, str) else method.__name__
        if name == "forward":
            message = "`forward` always runs through the strategy; mark other methods."
            raise ValueError(message)
        if not callable(getattr(self.module, name, None)):
            message = f"`{type(self.module).__name__}` has no method `{name}` to mark."
            raise AttributeError(message)
        self._forward_methods.add(name)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:  # torch's overloads
        """Return the state of the user's module."""
        return self.module.state_dict(*args, **kwargs)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load the state of the user's module."""
        return self.module.load_state_dict(state_dict, strict=strict, assign=assign)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)  # submodules and parameters of this wrapper
        except AttributeError:
            if "module" not in vars(self):  # while being copied
                raise
        value = getattr(self.module, name)
        if name in self._forward_methods:
            return self._through_strategy(name)
        if isinstance(value, MethodType) and self._forward_module is not self.module:
            return refusing_forward_calls(value, self.module)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        if "module" not in vars(self) or name in _OWN:
            super().__setattr__(name, value)
            return
        if name == "training":  # both: each looks at its own
            super().__setattr__(name, value)
        setattr(self.module, name, value)

    def _through_strategy(self, name: str) -> Callable[..., Any]:
        method = self._strategy.bind_step(self._forward_module, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._run(method, *args, **kwargs)

        return call

    def _run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        args, kwargs = self._precision.convert_input((args, kwargs))
        with self._precision.forward_context():
            output = function(*args, **kwargs)
        return self._precision.convert_output(output)


def is_wrapped(obj: object) -> bool:
    """Say whether an object was set up by Fabric.

    >>> is_wrapped(nn.Linear(1, 1))
    False
    """
    obj = getattr(obj, "_orig_mod", obj)  # inside of what torch.compile returned
    return isinstance(obj, FabricModule | FabricOptimizer | FabricDataLoader)


def unwrap_module(module: nn.Module) -> nn.Module:
    """Return what the strategy made of a module: the object that its state methods take."""
    module, _ = unwrap_compiled(module)
    if not isinstance(module, FabricModule):
        return module
    inner, _ = unwrap_compiled(module._forward_module)
    return inner
