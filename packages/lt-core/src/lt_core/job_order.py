"""What the user asked of one entry point: the module and where the data comes from."""

from typing import Any

from lt_core.module import LightningModule
from lt_core.run.loaders import LoaderSource
from lt_interfaces.errors import MisconfigurationException


def check_model(model: Any, fn: str) -> LightningModule:
    """Return the module that an entry point works with.

    Raises:
        TypeError: for anything but a LightningModule, or when there's none.
    """
    if model is None:
        message = f"`Trainer.{fn}()` needs a model: none was passed, and none was used before."
        raise TypeError(message)
    if not isinstance(model, LightningModule):
        message = f"`model` must be a LightningModule (or one that was compiled), but got {type(model).__name__}."
        raise TypeError(message)
    return model


def split_datamodule(dataloaders: Any, datamodule: Any, argument: str) -> tuple[Any, Any]:
    """Return loaders and datamodule, where the datamodule may have been passed in the loaders' place.

    Raises:
        MisconfigurationException: when both are given.
    """
    if datamodule is None and _is_datamodule(dataloaders):
        return None, dataloaders
    if datamodule is not None and dataloaders is not None:
        message = f"`{argument}` and `datamodule` were both given; pass one of them."
        raise MisconfigurationException(message)
    return dataloaders, datamodule


def loader_source(stage: str, given: Any, *, datamodule: Any | None, module: Any) -> LoaderSource:
    """Return where the loaders of a stage come from: what was passed, else the datamodule, else the module."""
    if given is not None:
        return LoaderSource(stage, given, is_hook=False)
    return LoaderSource(stage, module if datamodule is None else datamodule, is_hook=True)


def require_loaders(source: LoaderSource, fn: str) -> None:
    """Refuse to evaluate without data.

    Raises:
        MisconfigurationException: naming what to pass or define.
    """
    if not source.is_defined:
        message = (
            f"`Trainer.{fn}()` needs data: pass `dataloaders` or a `datamodule`, or define"
            f" `{source.stage}_dataloader()` in the module."
        )
        raise MisconfigurationException(message)


def _is_datamodule(value: Any) -> bool:
    return all(callable(getattr(value, name, None)) for name in ("prepare_data", "setup", "train_dataloader"))
