"""Batch norm over the batches of all ranks."""

import torch
from torch import nn

from lt_interfaces import Accelerator, MisconfigurationException


def refuse_on_cpu(accelerator: Accelerator) -> None:
    """Refuse batch norm over ranks where torch has none.

    Raises:
        MisconfigurationException: on the CPU.
    """
    if accelerator.name == "cpu":
        message = (
            "`sync_batchnorm=True` doesn't work with `accelerator='cpu'`: torch's SyncBatchNorm takes tensors of GPUs"
            " only. Leave it out; each rank then normalises over its own batch."
        )
        raise MisconfigurationException(message)


def with_synced_batchnorm(module: nn.Module) -> nn.Module:
    """Replace every batch norm layer by torch's `SyncBatchNorm`, in place where the module has children.

    >>> type(with_synced_batchnorm(nn.Sequential(nn.BatchNorm1d(3)))[0]).__name__
    'SyncBatchNorm'
    """
    converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
    return converted


def synced_layers(module: nn.Module) -> frozenset[str]:
    """Return the names of the layers that see the batches of all ranks already."""
    return frozenset(name for name, child in module.named_modules() if isinstance(child, nn.SyncBatchNorm))


def without_synced_batchnorm(module: nn.Module, keep: frozenset[str] = frozenset()) -> None:
    """Undo `with_synced_batchnorm` in a module's children, in place, so that it evaluates and loads on any device.

    Args:
        module: what was converted.
        keep: names of layers that were the user's own.
    """
    for name in synced_layers(module) - keep:
        parent, _, attribute = name.rpartition(".")
        owner = module.get_submodule(parent)
        setattr(owner, attribute, _plain(owner.get_submodule(attribute)))


class _AnyBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Takes inputs of every number of dimensions, as SyncBatchNorm does: which layer it replaced isn't known."""

    def _check_input_dim(self, input: torch.Tensor) -> None:
        """Check nothing."""


def _plain(layer: nn.Module) -> nn.Module:
    assert isinstance(layer, nn.SyncBatchNorm)  # asked before
    plain = _AnyBatchNorm(
        layer.num_features,
        layer.eps,
        layer.momentum,
        affine=layer.affine,
        track_running_stats=layer.track_running_stats,
    )
    plain.weight, plain.bias = layer.weight, layer.bias  # the very parameters that optimizers know
    plain.running_mean, plain.running_var = layer.running_mean, layer.running_var
    plain.num_batches_tracked = layer.num_batches_tracked
    plain.training = layer.training
    return plain
