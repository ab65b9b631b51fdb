"""Checkpoints as files, folders and remote objects: asynchronous, sharded, safetensors; inspect, verify, compare."""

from lt_checkpoint_io.async_checkpoint_io import AsyncCheckpointIO
from lt_checkpoint_io.comparison import CheckpointDifference, diff_checkpoints
from lt_checkpoint_io.consolidation import consolidate_checkpoint
from lt_checkpoint_io.distributed_checkpoint_io import DistributedCheckpointIO
from lt_checkpoint_io.inspection import CheckpointSummary, inspect_checkpoint
from lt_checkpoint_io.torch_checkpoint_io import TorchCheckpointIO
from lt_checkpoint_io.verification import VerificationReport, verify_checkpoint
from lt_checkpoint_io.weights import export_safetensors, import_safetensors

__all__ = [
    "AsyncCheckpointIO",
    "CheckpointDifference",
    "CheckpointSummary",
    "DistributedCheckpointIO",
    "TorchCheckpointIO",
    "VerificationReport",
    "consolidate_checkpoint",
    "diff_checkpoints",
    "export_safetensors",
    "import_safetensors",
    "inspect_checkpoint",
    "verify_checkpoint",
]
