"""Checkpoints as files, folders and remote objects: asynchronous, sharded, safetensors; inspect, verify, compare."""

from lt_checkpoint_io.async_checkpoint_io import AsyncCheckpointIO
from lt_checkpoint_io.distributed_checkpoint_io import DistributedCheckpointIO
from lt_checkpoint_io.torch_checkpoint_io import TorchCheckpointIO

__all__ = ["AsyncCheckpointIO", "DistributedCheckpointIO", "TorchCheckpointIO"]
