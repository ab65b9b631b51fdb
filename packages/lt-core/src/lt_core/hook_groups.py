"""The users' hooks in groups: what a module hears of a run, what brings data, what reads and writes checkpoints.

The groups are for `isinstance` and for mixins; the hooks themselves are `lt_interfaces.hooks.HOOKS`, and their defaults
those of `LightningModule` and `LightningDataModule`.
"""

from abc import ABC
from typing import Any, Final

from lt_core.hook_plan import overrides
from lt_core.module import LightningModule
from lt_interfaces.callback import Callback

_DATA_HOOKS: Final = (
    *("prepare_data", "setup", "teardown"),
    *("train_dataloader", "val_dataloader", "test_dataloader", "predict_dataloader"),
    *("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer"),
)


class ModelHooks(ABC):  # noqa: B024 (a group's name; what it stands for is in the table of hooks)
    """What a module hears of a run, from ``on_fit_start`` to ``on_predict_end``; every `LightningModule` is one.

    Derive a mixin from it to say what it's for. It brings no methods, so the order of base classes doesn't matter, and
    ``super().on_fit_start()`` in a mixin goes on to the next class that has one.

    >>> class SaysWhenItStarts(ModelHooks):
    ...     def on_fit_start(self):
    ...         super().on_fit_start()
    ...         print("here we go")
    >>> class Model(SaysWhenItStarts, LightningModule): ...
    >>> Model().on_fit_start()
    here we go
    """


class CheckpointHooks(ABC):  # noqa: B024 (as above)
    """``on_save_checkpoint`` and ``on_load_checkpoint``; every `LightningModule` is one. A mixin as `ModelHooks` is."""


class DataHooks(ABC):  # noqa: B024 (as above)
    """What brings data: set-up, loaders, and a batch's way to the device. A mixin as `ModelHooks` is.

    Every class with all of these methods is one: `LightningModule` and `LightningDataModule` are.

    >>> isinstance(LightningModule(), DataHooks)
    True
    """

    @classmethod
    def __subclasshook__(cls, subclass: type) -> Any:
        """Recognise a class by its methods; a mixin of the user's isn't asked for them."""
        if cls is DataHooks and all(callable(getattr(subclass, name, None)) for name in _DATA_HOOKS):
            return True
        return NotImplemented


ModelHooks.register(LightningModule)
CheckpointHooks.register(LightningModule)

_GROUPS: Final = (ModelHooks, CheckpointHooks, DataHooks)
_BASES: Final = (LightningModule, DataHooks, Callback)


def is_overridden(method_name: str, instance: object | None = None, parent: type | None = None) -> bool:
    """Say whether an object has a method of its own where its base class has a default.

    Args:
        method_name: the method.
        instance: the object; ``None`` has no methods.
        parent: the base class to compare with; by default the one among `LightningModule`, `LightningDataModule` and
            `Callback` that it derives from.

    Raises:
        ValueError: the base class isn't clear, or doesn't have the method either.

    >>> class Model(LightningModule):
    ...     def training_step(self, batch): ...
    >>> is_overridden("training_step", Model()), is_overridden("test_step", Model())
    (True, False)
    """
    if not hasattr(instance, method_name):
        return False
    if parent is None or parent in _GROUPS:
        if not isinstance(instance, _BASES):
            message = (
                f"`parent` is needed to say whether {type(instance).__name__} overrides `{method_name}`: it's neither a"
                " LightningModule nor a LightningDataModule nor a Callback."
            )
            raise ValueError(message)
        return overrides(instance, method_name)
    if not hasattr(parent, method_name):
        message = f"`parent`, {parent.__name__}, has no `{method_name}` that could be overridden."
        raise ValueError(message)
    method = getattr(instance, method_name)
    return getattr(method, "__func__", method) is not getattr(parent, method_name)
