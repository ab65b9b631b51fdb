"""The Fabric side and its utilities; its strategies, plugins and loggers stand with the Trainer's."""

from typing import Final

from lt_compat.names.entries import Names, missing, owned
from lt_compat.names.utilities import (  # one table, two doors
    _ATTRIBUTES,
    _ENUM,
    _FLOPS,
    _IS_INSTALLED,
    _IS_NEW_ENOUGH,
    _MORE_RANK_ZERO,
    _MOVING,
    _QUIET,
    _RANK_ZERO,
    _SHARED,
    _WORKERS,
)

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

_LOADERS = _WORKERS | owned("lt_fabric.data", "has_iterable_dataset", "sized_len")
_THROUGHPUT = owned("lt_interfaces.throughput", "Throughput") | owned(
    "lt_fabric.throughput_monitor", "ThroughputMonitor"
)

MODULES: Final[dict[str, Names]] = {
    "fabric": owned("lt_fabric", "Fabric")
    | _WRAPPED
    | _SEED
    | _QUIET
    | owned("lightning_utilities.core.imports", "package_available"),
    "fabric.fabric": owned("lt_fabric", "Fabric"),
    "fabric.wrappers": _WRAPPED
    | owned("lt_fabric.wrappers", _FabricModule="FabricModule")
    | owned("lt_fabric.optimizer_proxy", _FabricOptimizer="FabricOptimizer")
    | owned("lt_fabric.data.fabric_loader", _FabricDataLoader="FabricDataLoader"),
    "fabric.utilities": _RANK_ZERO | _MOVING | _ATTRIBUTES | _ENUM | _QUIET | _SHARED | _FLOPS | _WORKERS | _THROUGHPUT,
    "fabric.utilities.apply_func": _MOVING
    | owned("lt_fabric.tensor_conversion", "convert_tensors_to_scalars", "convert_to_tensors"),
    "fabric.utilities.cloud_io": owned("lt_checkpoint_io.stores", "get_filesystem"),
    "fabric.utilities.consolidate_checkpoint": {},
    "fabric.utilities.data": _ATTRIBUTES
    | _LOADERS
    | missing("`lt_fabric.data.sized_len(loader) is not None` says the same.", "has_len"),
    "fabric.utilities.device_dtype_mixin": missing(
        "`LightningModule` has `device` and `dtype`, and a plain module's parameters have them.",
        "_DeviceDtypeModuleMixin",
    ),
    "fabric.utilities.device_parser": missing(
        "`lt_fabric.device_indices.parse_indices` reads the argument `devices`.",
        "_parse_gpu_ids",
        "_select_auto_accelerator",
    ),
    "fabric.utilities.distributed": _SHARED
    | owned("lt_fabric.data.sampler_wrapper", "DistributedSamplerWrapper")
    | owned("torch.distributed", _distributed_is_initialized="is_initialized"),
    "fabric.utilities.enums": _ENUM,
    "fabric.utilities.exceptions": owned("lt_interfaces.errors", "MisconfigurationException"),
    "fabric.utilities.imports": missing(_IS_INSTALLED, "_NUMPY_AVAILABLE")
    | missing(
        _IS_NEW_ENOUGH,
        "_TORCH_GREATER_EQUAL_2_2",
        "_TORCH_GREATER_EQUAL_2_3",
        "_TORCH_GREATER_EQUAL_2_4",
        "_TORCH_GREATER_EQUAL_2_5",
        "_TORCH_GREATER_EQUAL_2_6",
    ),
    "fabric.utilities.init": {},
    "fabric.utilities.load": missing("`torch.load(path, mmap=True)` reads tensors when they're used.", "_lazy_load"),
    "fabric.utilities.logger": missing(
        "`lt_loggers.hparams_yaml.flat_hyperparameters` makes any hyper-parameters flat and plain.",
        "_convert_json_serializable",
        "_convert_params",
        "_flatten_dict",
        "_sanitize_callable_params",
        "_sanitize_params",
    )
    | missing("`lt_loggers.prefix.prefixed` puts a prefix in front of metrics' names.", "_add_prefix"),
    "fabric.utilities.optimizer": {},
    "fabric.utilities.rank_zero": _RANK_ZERO | _MORE_RANK_ZERO,
    "fabric.utilities.registry": {},
    "fabric.utilities.seed": _SEED
    | owned("lt_interfaces.rng", "reset_seed")
    | owned("lt_interfaces.rng", pl_worker_init_function="seed_worker"),
    "fabric.utilities.spike": owned("lt_fabric.spike_detection", "SpikeDetection")
    | owned("lt_interfaces.loss_spikes", "TrainingSpikeException"),
    "fabric.utilities.throughput": _THROUGHPUT | _FLOPS | owned("lt_interfaces.peak_flops", "get_available_flops"),
    "fabric.utilities.types": _TYPES,
    "fabric.utilities.warnings": _QUIET | owned("lt_interfaces.errors", "PossibleUserWarning"),
}
