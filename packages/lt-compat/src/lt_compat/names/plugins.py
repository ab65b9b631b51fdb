"""Plugins of both sides: precision, checkpoint IO, cluster environments, layer synchronisation, collectives."""

from typing import Final

from lt_compat.names.entries import Names, missing, owned

_NO_XLA = "lt doesn't run on TPUs: choose `accelerator='cuda'`, `'mps'` or `'cpu'`."
_ENGINE_PRECISION = "Pass `precision='16-mixed'` or another name: the strategy takes what it needs from it."
_BASES = "lt_compat.base_classes"
_PRECISION = owned(_BASES, "Precision")
_AMP = owned("lt_precision", "MixedPrecision")
_BITSANDBYTES = owned("lt_precision", "BitsandbytesPrecision")
_DOUBLE = owned("lt_precision", "DoublePrecision")
_HALF = owned("lt_precision", "HalfPrecision")
_ENGINE = owned("lt_precision", "TransformerEnginePrecision")
_DEEPSPEED = missing(_ENGINE_PRECISION, "DeepSpeedPrecision")
_FSDP = missing(_ENGINE_PRECISION, "FSDPPrecision")
_XLA = missing(_NO_XLA, "XLABf16Precision", "XLAPrecision")
_RETIRED = (
    missing(
        "Lightning 2.2 renamed it: leave `Plugin` off its name.",
        "BitsandbytesPrecisionPlugin",
        "DeepSpeedPrecisionPlugin",
        "DoublePrecisionPlugin",
        "FSDPMixedPrecisionPlugin",
        "FSDPPrecisionPlugin",
        "HalfPrecisionPlugin",
        "TransformerEnginePrecisionPlugin",
        "XLAPrecisionPlugin",
    )
    | owned("lt_precision", MixedPrecisionPlugin="MixedPrecision")
    | owned(_BASES, PrecisionPlugin="Precision")
)
_ALL_PRECISIONS = _PRECISION | _AMP | _BITSANDBYTES | _DOUBLE | _HALF | _ENGINE | _DEEPSPEED | _FSDP | _XLA

_IO = owned(_BASES, "CheckpointIO") | owned("lt_checkpoint_io", "TorchCheckpointIO")
_ASYNC = owned("lt_checkpoint_io", "AsyncCheckpointIO")
_XLA_IO = missing(_NO_XLA, "XLACheckpointIO")
_SYNC = missing(
    "`Trainer(sync_batchnorm=True)` normalises over the batches of all ranks; for other layers, convert the module in"
    " `configure_model`.",
    "LayerSync",
    "TorchSyncBatchNorm",
)

_ENVIRONMENT = owned(_BASES, "ClusterEnvironment")
_KUBEFLOW = owned("lt_strategies", "KubeflowEnvironment")
_LOCAL = owned("lt_fabric", LightningEnvironment="LocalEnvironment")
_LSF = owned("lt_strategies", "LSFEnvironment")
_MPI = owned("lt_strategies", "MPIEnvironment")
_SLURM = owned("lt_strategies", "SLURMEnvironment")
_ELASTIC = owned("lt_strategies", "TorchElasticEnvironment")
_XLA_ENVIRONMENT = missing(_NO_XLA, "XLAEnvironment")
_ENVIRONMENTS = _ENVIRONMENT | _KUBEFLOW | _LOCAL | _LSF | _MPI | _SLURM | _ELASTIC | _XLA_ENVIRONMENT

_COLLECTIVES = missing(
    "`torch.distributed` has these functions, and Fabric `all_gather`, `all_reduce`, `broadcast` and `barrier`.",
    "Collective",
    "SingleDeviceCollective",
    "TorchCollective",
)

MODULES: Final[dict[str, Names]] = {
    "pytorch.plugins": _ALL_PRECISIONS | _IO | _ASYNC | _XLA_IO | _SYNC | _ENVIRONMENT | _RETIRED,
    "pytorch.plugins.environments": _ENVIRONMENTS,
    "pytorch.plugins.io": _IO | _ASYNC | _XLA_IO,
    "pytorch.plugins.io.async_plugin": _ASYNC,
    "pytorch.plugins.io.checkpoint_plugin": owned(_BASES, "CheckpointIO"),
    "pytorch.plugins.io.torch_plugin": owned("lt_checkpoint_io", "TorchCheckpointIO"),
    "pytorch.plugins.io.xla_plugin": _XLA_IO,
    "pytorch.plugins.layer_sync": _SYNC,
    "pytorch.plugins.precision": _ALL_PRECISIONS | _RETIRED,
    "pytorch.plugins.precision.amp": _AMP,
    "pytorch.plugins.precision.bitsandbytes": _BITSANDBYTES,
    "pytorch.plugins.precision.deepspeed": _DEEPSPEED,
    "pytorch.plugins.precision.double": _DOUBLE
    | missing("`precision='64-true'` needs no wrapper around the module.", "LightningDoublePrecisionModule"),
    "pytorch.plugins.precision.fsdp": _FSDP,
    "pytorch.plugins.precision.half": _HALF,
    "pytorch.plugins.precision.precision": _PRECISION,
    "pytorch.plugins.precision.transformer_engine": _ENGINE,
    "pytorch.plugins.precision.xla": _XLA,
    "fabric.plugins": _ALL_PRECISIONS | _IO | _XLA_IO | _ENVIRONMENT,
    "fabric.plugins.collectives": _COLLECTIVES,
    "fabric.plugins.collectives.collective": _COLLECTIVES,
    "fabric.plugins.collectives.single_device": _COLLECTIVES,
    "fabric.plugins.collectives.torch_collective": _COLLECTIVES,
    "fabric.plugins.environments": _ENVIRONMENTS,
    "fabric.plugins.environments.cluster_environment": _ENVIRONMENT,
    "fabric.plugins.environments.kubeflow": _KUBEFLOW,
    "fabric.plugins.environments.lightning": _LOCAL
    | missing(
        "Bind a `socket.socket` to port 0 and keep it: a port that's found and let go can be taken.",
        "find_free_network_port",
    ),
    "fabric.plugins.environments.lsf": _LSF,
    "fabric.plugins.environments.mpi": _MPI,
    "fabric.plugins.environments.slurm": _SLURM,
    "fabric.plugins.environments.torchelastic": _ELASTIC,
    "fabric.plugins.environments.xla": _XLA_ENVIRONMENT,
    "fabric.plugins.io": _IO | _XLA_IO,
    "fabric.plugins.io.checkpoint_io": owned(_BASES, "CheckpointIO"),
    "fabric.plugins.io.torch_io": owned("lt_checkpoint_io", "TorchCheckpointIO"),
    "fabric.plugins.io.xla": _XLA_IO,
    "fabric.plugins.precision": _ALL_PRECISIONS,
    "fabric.plugins.precision.amp": _AMP,
    "fabric.plugins.precision.bitsandbytes": _BITSANDBYTES,
    "fabric.plugins.precision.deepspeed": _DEEPSPEED,
    "fabric.plugins.precision.double": _DOUBLE,
    "fabric.plugins.precision.fsdp": _FSDP,
    "fabric.plugins.precision.half": _HALF,
    "fabric.plugins.precision.precision": _PRECISION,
    "fabric.plugins.precision.transformer_engine": _ENGINE,
    "fabric.plugins.precision.xla": _XLA,
}
