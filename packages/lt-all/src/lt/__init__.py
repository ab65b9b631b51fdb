"""The front door to all packages: one import, and each part is loaded when it's first used.

``lt.Trainer``, ``lt.LightningModule``, ``lt.LightningDataModule``, ``lt.Callback``, ``lt.Fabric`` and
``lt.seed_everything`` come from the packages that own them. A whole package is an attribute too, so that
``lt.callbacks.ModelCheckpoint`` is ``lt_callbacks.ModelCheckpoint``. ``import lt`` by itself loads nothing else, not
even torch.

>>> import lt
>>> lt.datamodules.LightningDataModule is lt.LightningDataModule
True
"""

from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, Final

_OWNERS: Final = {
    "Callback": "lt_interfaces",
    "Fabric": "lt_fabric",
    "LightningDataModule": "lt_datamodules",
    "LightningModule": "lt_core",
    "MisconfigurationException": "lt_interfaces",
    "Trainer": "lt_core",
    "not_a_hook": "lt_interfaces",
    "seed_everything": "lt_fabric",
}
"""Each name of the front door with the module that owns it."""

_PACKAGES: Final = {
    "callbacks": "lt_callbacks",
    "checkpoint_io": "lt_checkpoint_io",
    "cli": "lt_cli",
    "core": "lt_core",
    "datamodules": "lt_datamodules",
    "deepspeed": "lt_deepspeed",
    "fabric": "lt_fabric",
    "fsdp": "lt_fsdp",
    "interfaces": "lt_interfaces",
    "loggers": "lt_loggers",
    "metrics": "lt_metrics",
    "precision": "lt_precision",
    "profilers": "lt_profilers",
    "strategies": "lt_strategies",
}
"""Each package as it's called here, with its module."""


def __getattr__(name: str) -> Any:  # whatever a package offers
    """Load a part on first use; later uses find it without coming here."""
    if name in _OWNERS:
        found = getattr(_load(_OWNERS[name], name), name)
    elif name in _PACKAGES:
        found = _load(_PACKAGES[name], name)
    elif name == "__version__":
        found = version("lt-all")
    else:
        message = f"module 'lt' has no attribute {name!r}"
        raise AttributeError(message, name=name, obj=import_module(__name__))
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """List what can be used: the parts whose package is installed."""
    parts = {**_OWNERS, **_PACKAGES}
    return sorted({*globals(), "__version__", *(name for name, module in parts.items() if find_spec(module))})


def _load(module: str, name: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise  # the package is there, something that it needs isn't
        package = module.replace("_", "-")
        message = (
            f"`lt.{name}` needs the package `{package}`, which isn't installed. Install it with: pip install {package}"
        )
        raise ModuleNotFoundError(message, name=module) from None
