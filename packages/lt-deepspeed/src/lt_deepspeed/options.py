"""What a user tells DeepSpeed by arguments, checked as soon as it's given."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from lt_interfaces import MisconfigurationException
from lt_interfaces.spelling import did_you_mean

_DEVICES = ("cpu", "nvme")


@dataclass(frozen=True, kw_only=True)
class ZeroOptions:
    """The arguments of `DeepSpeedStrategy` from which a DeepSpeed config is generated.

    Raises:
        MisconfigurationException: for a stage or device that doesn't exist, or two arguments that don't go together.
    """

    zero_optimization: bool = True
    """Must stay on: without ZeRO there's nothing that DDP doesn't do."""
    stage: int = 2
    """What is sharded: 1 the optimizer's state, 2 gradients too, 3 parameters too."""
    remote_device: str | None = None
    """Where ``init_module`` keeps the shards of parameters under stage 3: "cpu", "nvme" or ``None``, the device."""
    offload_optimizer: bool = False
    """Keep the optimizer's state, and its arithmetic, off the device."""
    offload_parameters: bool = False
    """Keep parameters off the device between uses; stage 3."""
    offload_params_device: str = "cpu"
    """Where parameters are kept: "cpu" or "nvme"."""
    nvme_path: str = "/local_nvme"
    """The folder on the NVMe device."""
    params_buffer_count: int = 5
    """Buffers for parameters on their way from and to NVMe."""
    params_buffer_size: int = 100_000_000
    """Elements of each of them."""
    max_in_cpu: int = 1_000_000_000
    """Elements of parameters to keep in CPU memory beside NVMe."""
    offload_optimizer_device: str = "cpu"
    """Where the optimizer's state is kept: "cpu" or, under stage 3, "nvme"."""
    optimizer_buffer_count: int = 4
    """Buffers for the optimizer's state on its way from and to NVMe."""
    block_size: int = 1_048_576
    """Bytes of one NVMe transfer."""
    queue_depth: int = 8
    """NVMe transfers waiting at once."""
    single_submit: bool = False
    """Submit NVMe transfers one by one."""
    overlap_events: bool = True
    """Submit and complete NVMe transfers side by side."""
    thread_count: int = 1
    """Threads per NVMe transfer."""
    pin_memory: bool = False
    """Keep what's offloaded in page-locked memory: faster, but taken from all other programs."""
    sub_group_size: int = 1_000_000_000_000
    """Elements that the optimizer updates at once under stage 3."""
    contiguous_gradients: bool = True
    """Copy gradients into one buffer as they come."""
    overlap_comm: bool = True
    """Reduce gradients while backward runs."""
    allgather_partitions: bool = True
    """Gather updated parameters at once rather than by broadcasts."""
    reduce_scatter: bool = True
    """Scatter gradients rather than reducing them everywhere."""
    allgather_bucket_size: int = 200_000_000
    """Elements gathered at once."""
    reduce_bucket_size: int = 200_000_000
    """Elements reduced at once."""
    zero_allow_untested_optimizer: bool = True
    """Take optimizers that DeepSpeed's authors haven't tried."""
    logging_batch_size_per_gpu: int | Literal["auto"] = "auto"
    """The batch size that DeepSpeed computes samples per second from; "auto": 1, and the number means nothing."""
    loss_scale: float = 0
    """Of "16-mixed": a fixed one, or 0 for one that adapts."""
    initial_scale_power: int = 16
    """Power of two that the adapting loss scale starts with."""
    loss_scale_window: int = 1000
    """Steps without overflow after which the loss scale is doubled."""
    hysteresis: int = 2
    """Overflows before the loss scale is halved."""
    min_loss_scale: int = 1
    """The smallest loss scale."""
    partition_activations: bool = False
    """Share checkpointed activations out over model-parallel ranks (`deepspeed.checkpointing`)."""
    cpu_checkpointing: bool = False
    """Keep checkpointed activations in CPU memory; needs ``partition_activations``."""
    contiguous_memory_optimization: bool = False
    """Keep checkpointed activations in one buffer; needs ``partition_activations``."""
    synchronize_checkpoint_boundary: bool = False
    """Synchronise the device at each checkpointed layer."""
    load_full_weights: bool = False
    """Accepted, without effect: a full checkpoint is always loaded, whichever way it was saved."""
    exclude_frozen_parameters: bool = False
    """Leave frozen parameters out of the engine's own folders."""
    logging_level: int = logging.WARN
    """Of DeepSpeed's logger."""

    def __post_init__(self) -> None:
        if not self.zero_optimization or self.stage not in (1, 2, 3):
            message = (
                f"`DeepSpeedStrategy(zero_optimization={self.zero_optimization}, stage={self.stage})`: the stage must"
                " be 1, 2 or 3. Without ZeRO use `strategy='ddp'`, which does the same."
            )
            raise MisconfigurationException(message)
        self._check_devices()
        for name in ("cpu_checkpointing", "contiguous_memory_optimization"):
            if getattr(self, name) and not self.partition_activations:
                message = f"`{name}=True` needs `partition_activations=True`."
                raise MisconfigurationException(message)

    def _check_devices(self) -> None:
        for name in ("offload_params_device", "offload_optimizer_device", "remote_device"):
            device = getattr(self, name)
            if device not in _DEVICES and not (name == "remote_device" and device is None):
                message = f"`{name}={device!r}` must be 'cpu' or 'nvme'."
                raise MisconfigurationException(message)
        needs_stage_3 = {
            "offload_parameters=True": self.offload_parameters,
            "offload_optimizer_device='nvme'": self.offload_optimizer and self.offload_optimizer_device == "nvme",
        }
        for argument, is_asked in needs_stage_3.items():
            if is_asked and self.stage != 3:
                message = f"`{argument}` needs `stage=3`, not `stage={self.stage}`."
                raise MisconfigurationException(message)


def options_from(arguments: Mapping[str, Any]) -> ZeroOptions:
    """Return the options that arguments make.

    Raises:
        TypeError: for an argument that there isn't.
    """
    names = [one.name for one in fields(ZeroOptions)]
    for name in arguments:
        if name not in names:
            message = f"`DeepSpeedStrategy` doesn't take `{name}`.{did_you_mean(name, names)}"
            raise TypeError(message)
    return ZeroOptions(**arguments)
