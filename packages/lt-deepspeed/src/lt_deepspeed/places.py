"""Where in a DeepSpeed config each argument stands."""

from collections.abc import Mapping
from typing import Any, Final

from lt_deepspeed.options import ZeroOptions

Place = tuple[str, ...]
MISSING: Final = object()
"""What `found_at` returns where a config has nothing."""

_ZERO: Final = "zero_optimization"
_OPTIMIZER: Final = (_ZERO, "offload_optimizer")
_PARAMETERS: Final = (_ZERO, "offload_param")
_PLAIN: Final = (
    "stage",
    "contiguous_gradients",
    "overlap_comm",
    "allgather_partitions",
    "reduce_scatter",
    "allgather_bucket_size",
    "reduce_bucket_size",
    "sub_group_size",
)
_ACTIVATIONS: Final = (
    "partition_activations",
    "cpu_checkpointing",
    "contiguous_memory_optimization",
    "synchronize_checkpoint_boundary",
)
_NVME: Final = ("block_size", "queue_depth", "single_submit", "overlap_events", "thread_count")
_SCALING: Final = ("loss_scale", "initial_scale_power", "loss_scale_window", "hysteresis", "min_loss_scale")

_PLACES: Final[Mapping[str, tuple[Place, ...]]] = {
    **{name: ((_ZERO, name),) for name in _PLAIN},
    **{name: (("activation_checkpointing", name),) for name in _ACTIVATIONS},
    **{name: (("aio", name),) for name in _NVME},
    **{name: (("fp16", name),) for name in _SCALING},
    "zero_allow_untested_optimizer": (("zero_allow_untested_optimizer",),),
    "logging_batch_size_per_gpu": (("train_micro_batch_size_per_gpu",),),
    "offload_optimizer_device": ((*_OPTIMIZER, "device"),),
    "optimizer_buffer_count": ((*_OPTIMIZER, "buffer_count"),),
    "offload_params_device": ((*_PARAMETERS, "device"),),
    "params_buffer_count": ((*_PARAMETERS, "buffer_count"),),
    "params_buffer_size": ((*_PARAMETERS, "buffer_size"),),
    "max_in_cpu": ((*_PARAMETERS, "max_in_cpu"),),
    "nvme_path": ((*_OPTIMIZER, "nvme_path"), (*_PARAMETERS, "nvme_path")),
    "pin_memory": ((*_OPTIMIZER, "pin_memory"), (*_PARAMETERS, "pin_memory")),
}


def settings(options: ZeroOptions, argument: str) -> dict[Place, Any]:
    """Return what an argument sets in a config, by place; nothing for those that stand in none.

    >>> settings(ZeroOptions(stage=3), "stage")
    {('zero_optimization', 'stage'): 3}
    """
    if argument == "offload_optimizer":
        return settings(options, "offload_optimizer_device")
    if argument == "offload_parameters":
        return settings(options, "offload_params_device")
    places = [place for place in _PLACES.get(argument, ()) if _is_open(options, place)]
    return {place: getattr(options, argument) for place in places}


def scaling(options: ZeroOptions) -> dict[str, Any]:
    """Return the settings of the loss scale."""
    return {name: getattr(options, name) for name in _SCALING}


def found_at(config: Any, place: Place) -> Any:
    """Return what a config has at a place, `MISSING` where it has nothing."""
    for key in place:
        if not isinstance(config, Mapping) or key not in config:
            return MISSING
        config = config[key]
    return config


def generated(options: ZeroOptions) -> dict[str, Any]:
    """Return the config that arguments stand for, without precision and sizes.

    >>> generated(ZeroOptions(stage=1))["zero_optimization"]["stage"]
    1
    """
    # The optimizer is the user's: torch's own works off the device too, if slower than DeepSpeedCPUAdam.
    config: dict[str, Any] = {"zero_force_ds_cpu_optimizer": False}
    for argument in _PLACES:
        for place, value in settings(options, argument).items():
            if place[0] == "fp16" or value == "auto":
                continue
            section = config
            for key in place[:-1]:
                section = section.setdefault(key, {})
            section[place[-1]] = value
    return config


def _is_open(options: ZeroOptions, place: Place) -> bool:
    """Say whether the section of a place is wanted at all."""
    if place[:-1] == _OPTIMIZER:
        return options.offload_optimizer
    return place[:-1] != _PARAMETERS or options.offload_parameters
