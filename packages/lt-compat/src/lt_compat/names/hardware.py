"""Strategies and accelerators of both sides."""

from typing import Final

from lt_compat.names.entries import Names, missing, owned

_NO_XLA = "lt doesn't run on TPUs: choose `accelerator='cuda'`, `'mps'` or `'cpu'`."
_BY_ENTRY_POINT = "Strategies are found by their entry points in the group `lt.strategies`."
_BY_ENTRY_POINT_TOO = "Accelerators are found by their entry points in the group `lt.accelerators`."
_STRATEGY = owned("lt_interfaces", "Strategy")
_DDP = owned("lt_strategies", "DDPStrategy")
_DEEPSPEED = owned("lt_deepspeed", "DeepSpeedStrategy")
_FSDP = owned("lt_fsdp", "FSDPStrategy")
_MODEL_PARALLEL = owned("lt_fsdp", "ModelParallelStrategy")
_SINGLE = owned("lt_fabric", "SingleDeviceStrategy")
_PARALLEL = missing(
    "Ask the strategy instead of its class: `strategy.supports(...)`, or `trainer.world_size > 1`.", "ParallelStrategy"
)
_DATA_PARALLEL = missing(
    "Use `strategy='ddp'`, which torch recommends in place of DataParallel.", "DataParallelStrategy"
)
_XLA = missing(_NO_XLA, "SingleDeviceXLAStrategy", "SingleTPUStrategy", "XLAFSDPStrategy", "XLAStrategy")
_ACCELERATOR = owned("lt_interfaces", "Accelerator")
_CPU = owned("lt_fabric", "CPUAccelerator")
_CUDA = owned("lt_fabric", "CUDAAccelerator")
_MPS = owned("lt_fabric", "MPSAccelerator")
_USABLE = missing(
    "`Trainer(devices=n)` picks devices; `torch.cuda.mem_get_info` says what's free.", "find_usable_cuda_devices"
)
_STATS = "Call `trainer.accelerator.get_device_stats(device)`."
_XLA_ACCELERATOR = missing(_NO_XLA, "TPUAccelerator", "XLAAccelerator")
_ACCELERATORS = _ACCELERATOR | _CPU | _CUDA | _MPS | _USABLE | _XLA_ACCELERATOR

MODULES: Final[dict[str, Names]] = {
    "pytorch.strategies": _STRATEGY
    | _DDP
    | _DEEPSPEED
    | _FSDP
    | _MODEL_PARALLEL
    | _SINGLE
    | _PARALLEL
    | _XLA
    | missing(_BY_ENTRY_POINT, "StrategyRegistry"),
    "pytorch.strategies.ddp": _DDP,
    "pytorch.strategies.deepspeed": _DEEPSPEED
    | missing("Remove a hook by the handle that `register_forward_hook` returned.", "remove_module_hooks"),
    "pytorch.strategies.fsdp": _FSDP,
    "pytorch.strategies.model_parallel": _MODEL_PARALLEL,
    "pytorch.strategies.parallel": _PARALLEL,
    "pytorch.strategies.single_device": _SINGLE,
    "pytorch.strategies.strategy": _STRATEGY,
    "pytorch.strategies.single_xla": _XLA,
    "pytorch.strategies.xla": _XLA,
    "pytorch.accelerators": _ACCELERATORS | missing(_BY_ENTRY_POINT_TOO, "AcceleratorRegistry"),
    "pytorch.accelerators.accelerator": _ACCELERATOR,
    "pytorch.accelerators.cpu": _CPU | missing(_STATS, "get_cpu_stats"),
    "pytorch.accelerators.cuda": _CUDA | missing(_STATS, "get_nvidia_gpu_stats"),
    "pytorch.accelerators.mps": _MPS | missing(_STATS, "get_device_stats"),
    "pytorch.accelerators.xla": _XLA_ACCELERATOR,
    "fabric.strategies": _STRATEGY
    | _DDP
    | _DEEPSPEED
    | _FSDP
    | _MODEL_PARALLEL
    | _SINGLE
    | _PARALLEL
    | _DATA_PARALLEL
    | _XLA
    | missing(_BY_ENTRY_POINT, "STRATEGY_REGISTRY"),
    "fabric.strategies.ddp": _DDP,
    "fabric.strategies.deepspeed": _DEEPSPEED,
    "fabric.strategies.dp": _DATA_PARALLEL,
    "fabric.strategies.fsdp": _FSDP,
    "fabric.strategies.model_parallel": _MODEL_PARALLEL,
    "fabric.strategies.parallel": _PARALLEL,
    "fabric.strategies.single_device": _SINGLE,
    "fabric.strategies.strategy": _STRATEGY,
    "fabric.strategies.single_xla": _XLA,
    "fabric.strategies.xla": _XLA,
    "fabric.strategies.xla_fsdp": _XLA,
    "fabric.accelerators": _ACCELERATORS | missing(_BY_ENTRY_POINT_TOO, "ACCELERATOR_REGISTRY"),
    "fabric.accelerators.accelerator": _ACCELERATOR,
    "fabric.accelerators.cpu": _CPU,
    "fabric.accelerators.cuda": _CUDA
    | _USABLE
    | owned("torch.cuda", is_cuda_available="is_available", num_cuda_devices="device_count"),
    "fabric.accelerators.mps": _MPS,
    "fabric.accelerators.registry": missing(_BY_ENTRY_POINT_TOO, "call_register_accelerators"),
    "fabric.accelerators.xla": _XLA_ACCELERATOR,
}
