"""Values that a run is tuned by, wherever they are: at the module, its hyper-parameters or the data's.

A name such as ``batch_size`` may be an attribute of the module or of the datamodule that its Trainer uses, or be among
the hyper-parameters of either. The last of these places that has it counts when it's read; all are set.
"""

from collections.abc import Iterator, MutableMapping
from typing import Any

from lt_interfaces.spelling import did_you_mean


def lightning_hasattr(model: Any, attribute: str) -> bool:
    """Say whether a module, its hyper-parameters, or the data of its Trainer have a value of this name."""
    return any(_has(holder, attribute) for holder in _places(model))


def lightning_getattr(model: Any, attribute: str) -> Any:
    """Return a value by its name, from the last of the places that have it.

    Raises:
        AttributeError: none has it.

    >>> from lt_core import LightningModule
    >>> class Model(LightningModule):
    ...     def __init__(self, batch_size=8):
    ...         super().__init__()
    ...         self.save_hyperparameters()
    >>> lightning_getattr(Model(), "batch_size")
    8
    """
    holder = _holders(model, attribute)[-1]
    return holder[attribute] if isinstance(holder, MutableMapping) else getattr(holder, attribute)


def lightning_setattr(model: Any, attribute: str, value: Any) -> None:
    """Set a value in all of the places that have it.

    Raises:
        AttributeError: none has it.
    """
    for holder in _holders(model, attribute):
        if isinstance(holder, MutableMapping):
            holder[attribute] = value
        else:
            setattr(holder, attribute, value)


def _holders(model: Any, attribute: str) -> list[Any]:
    found = [holder for holder in _places(model) if _has(holder, attribute)]
    if not found:
        known = [name for place in _places(model) if isinstance(place, MutableMapping) for name in place]
        message = (
            f"`{attribute}` is neither an attribute nor a hyper-parameter of {type(model).__name__}, nor of the"
            f" datamodule that its Trainer uses.{did_you_mean(attribute, known)}"
        )
        raise AttributeError(message, name=attribute, obj=model)
    return found


def _places(model: Any) -> Iterator[Any]:
    datamodule = getattr(getattr(model, "_trainer", None), "datamodule", None)
    for owner in (model, datamodule):
        if owner is not None:
            yield owner
            if hasattr(owner, "hparams"):
                yield owner.hparams


def _has(holder: Any, attribute: str) -> bool:
    return attribute in holder if isinstance(holder, MutableMapping) else hasattr(holder, attribute)
