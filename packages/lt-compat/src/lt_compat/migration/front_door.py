"""How a name is written by way of `lt`, the package that offers all others as attributes."""

from typing import Final

from lt_compat.names import Owner

MODULE: Final = "lt"
"""The package, which lt-all installs."""

NAMES: Final[dict[str, frozenset[str]]] = {
    "Callback": frozenset({"lt_interfaces", "lt_interfaces.callback", "lt_callbacks"}),
    "Fabric": frozenset({"lt_fabric"}),
    "LightningDataModule": frozenset({"lt_datamodules"}),
    "LightningModule": frozenset({"lt_core"}),
    "MisconfigurationException": frozenset({"lt_interfaces", "lt_interfaces.errors"}),
    "Trainer": frozenset({"lt_core"}),
    "not_a_hook": frozenset({"lt_interfaces"}),
    "seed_everything": frozenset({"lt_fabric", "lt_interfaces.rng"}),
}
"""What `lt` offers by name, with the modules that have the same object."""

PACKAGES: Final[dict[str, str]] = {
    "lt_callbacks": "callbacks",
    "lt_checkpoint_io": "checkpoint_io",
    "lt_cli": "cli",
    "lt_core": "core",
    "lt_datamodules": "datamodules",
    "lt_deepspeed": "deepspeed",
    "lt_fabric": "fabric",
    "lt_fsdp": "fsdp",
    "lt_interfaces": "interfaces",
    "lt_loggers": "loggers",
    "lt_metrics": "metrics",
    "lt_precision": "precision",
    "lt_profilers": "profilers",
    "lt_strategies": "strategies",
}
"""The packages, with what they're called as attributes of `lt`."""


def by_front_door(owner: Owner) -> str | None:
    """Return what to write behind ``lt.`` for a name; ``None``: it can't be reached so.

    >>> by_front_door(Owner("lt_core", "Trainer")), by_front_door(Owner("lt_fsdp", "FSDPStrategy"))
    ('Trainer', 'fsdp.FSDPStrategy')
    >>> by_front_door(Owner("lt_interfaces.rank_zero", "rank_zero_info"))
    """
    if owner.module in NAMES.get(owner.name, ()):
        return owner.name
    package = PACKAGES.get(owner.module)
    return f"{package}.{owner.name}" if package else None
