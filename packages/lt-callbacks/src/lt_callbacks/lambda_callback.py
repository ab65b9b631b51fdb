"""A callback made of functions."""

from inspect import Parameter, Signature
from typing import Any, ClassVar, Final

from lt_interfaces.callback import Callback
from lt_interfaces.hooks import Hearer, heard_by
from lt_interfaces.spelling import did_you_mean

_HOOKS: Final = tuple(hook.name for hook in heard_by(Hearer.CALLBACK))


class LambdaCallback(Callback):
    """Calls functions at moments of a run: one keyword for each hook of `Callback`, state excepted.

    A function gets what the hook gets: the trainer, the module, and the hook's own arguments.

    Raises:
        TypeError: for a keyword that's no hook, or a value that can't be called.

    >>> epochs = []
    >>> callback = LambdaCallback(on_train_epoch_start=lambda trainer, module: epochs.append(trainer.current_epoch))
    """

    __signature__: ClassVar[Signature] = Signature(
        [Parameter(name, Parameter.KEYWORD_ONLY, default=None) for name in _HOOKS]
    )

    def __init__(self, **hooks: Any) -> None:
        for name, function in hooks.items():
            if name not in _HOOKS:
                message = f"`LambdaCallback` got `{name}`, which is no hook.{did_you_mean(name, _HOOKS)}"
                raise TypeError(message)
            if function is None:
                continue
            if not callable(function):
                message = f"`LambdaCallback({name}=...)` must be a function, not {function!r}."
                raise TypeError(message)
            setattr(self, name, function)
