"""The Fabric side and its utilities; its strategies, plugins and loggers stand with the Trainer's."""

from typing import Final

from lt_compat.names.entries import Names, owned
from lt_compat.names.utilities import _ATTRIBUTES, _MOVING, _RANK_ZERO  # one table, two doors

_WRAPPED = owned("lt_fabric", "is_wrapped")
_TYPES = owned(
    "lt_fabric.types",
    "CollectibleGroup",
    "Optimizable",
    "ProcessGroup",
    "RedOpType",
    "ReduceOp",
    "Steppable",
    _DEVICE="DEVICE",
    _MAP_LOCATION_TYPE="MAP_LOCATION_TYPE",
    _PARAMETERS="PARAMETERS",
    _PATH="PATH",
    _Stateful="Stateful",
)
_SEED = owned("lt_fabric", "seed_everything")

MODULES: Final[dict[str, Names]] = {
    "fabric": owned("lt_fabric", "Fabric") | _WRAPPED | _SEED,
    "fabric.fabric": owned("lt_fabric", "Fabric"),
    "fabric.wrappers": _WRAPPED
    | owned("lt_fabric.wrappers", _FabricModule="FabricModule")
    | owned("lt_fabric.optimizer_proxy", _FabricOptimizer="FabricOptimizer")
    | owned("lt_fabric.data.fabric_loader", _FabricDataLoader="FabricDataLoader"),
    "fabric.utilities": _RANK_ZERO | _MOVING,
    "fabric.utilities.apply_func": _MOVING,
    "fabric.utilities.cloud_io": owned("lt_checkpoint_io.stores", "get_filesystem"),
    "fabric.utilities.data": _ATTRIBUTES,
    "fabric.utilities.exceptions": owned("lt_interfaces.errors", "MisconfigurationException"),
    "fabric.utilities.seed": _SEED | owned("lt_interfaces.rng", "reset_seed"),
    "fabric.utilities.types": _TYPES,
}
