"""The arguments that users know from FSDP's first version, in terms of the second."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import torch
from torch import nn
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy

from lt_interfaces import MisconfigurationException, PrecisionDtypes
from lt_interfaces.spelling import did_you_mean

_RESHARDS: Final[Mapping[str, bool | None]] = {
    "FULL_SHARD": None,
    "SHARD_GRAD_OP": False,
    "HYBRID_SHARD": None,
    "_HYBRID_SHARD_ZERO2": False,
}
_ELSEWHERE: Final = {
    "accelerator": "give `accelerator` to the Trainer or Fabric",
    "parallel_devices": "give `devices` to the Trainer or Fabric",
    "cluster_environment": "give it to the Trainer or Fabric in `plugins`",
    "checkpoint_io": "give it to the Trainer or Fabric in `plugins`",
    "precision_plugin": "give `precision` to the Trainer or Fabric",
    "precision": "give `precision` to the Trainer or Fabric",
    "process_group": "use `device_mesh`, e.g. one that `torch.distributed.device_mesh.init_device_mesh` makes",
    "param_init_fn": "give your layers `reset_parameters()`, which fills them after they were made on the meta device",
    "backward_prefetch": "the next unit is gathered during backward anyway",
    "forward_prefetch": "call `set_modules_to_forward_prefetch` of the sharded modules in `on_fit_start`",
    "device_id": "modules go to the device of their rank",
    "ignored_modules": "use `ignored_states`, with the parameters of these modules",
}
_ALWAYS: Final = {"use_orig_params": True, "limit_all_gathers": True, "sync_module_states": True}
"""What FSDP2 always does."""
ACCEPTED: Final = ("ignored_states", *_ALWAYS)


def reshards(strategy: Any, asked: bool | int | None) -> tuple[bool | int | None, bool]:
    """Return whether units are freed after forward, and whether there are replicas of the sharded model.

    Args:
        strategy: ``sharding_strategy``: a name or torch's ``ShardingStrategy``.
        asked: ``reshard_after_forward``.

    Raises:
        MisconfigurationException: both say something, and not the same.
        ValueError: for an unknown strategy, and for ``NO_SHARD``.
    """
    name = getattr(strategy, "name", strategy)
    if name == "NO_SHARD":
        message = "`sharding_strategy='NO_SHARD'` replicates the whole model: that's `strategy='ddp'`."
        raise ValueError(message)
    if name not in _RESHARDS:
        message = f"`sharding_strategy={strategy!r}` must be one of {', '.join(_RESHARDS)}."
        raise ValueError(message)
    implied = _RESHARDS[name]
    if asked is not None and implied is not None and asked is not implied:
        message = (
            f"`sharding_strategy={name!r}` keeps weights gathered after forward, but `reshard_after_forward={asked!r}`"
            " frees them. Leave one of both out."
        )
        raise MisconfigurationException(message)
    return (implied if asked is None else asked), name.startswith(("HYBRID", "_HYBRID"))


def ignored_parameters(arguments: Mapping[str, Any]) -> frozenset[nn.Parameter]:
    """Return the parameters that stay whole; refuse arguments that FSDP2 has no place for, saying what replaces them.

    Raises:
        MisconfigurationException: for an argument of FSDP's first version that can't be followed.
        TypeError: for one that nobody knows.
    """
    for name, value in arguments.items():
        if name in _ELSEWHERE:
            message = f"`FSDPStrategy({name}=...)` isn't taken: {_ELSEWHERE[name]}."
            raise MisconfigurationException(message)
        if name in _ALWAYS and value is not _ALWAYS[name]:
            message = f"`FSDPStrategy({name}={value!r})` isn't taken: FSDP2 always works as with `{name}=True`."
            raise MisconfigurationException(message)
        if name not in ACCEPTED:
            message = f"`FSDPStrategy` doesn't take `{name}`.{did_you_mean(name, [*ACCEPTED, *_ELSEWHERE])}"
            raise TypeError(message)
    ignored: Iterable[nn.Parameter] = arguments.get("ignored_states") or ()
    return frozenset(ignored)


def refuse_trained(module: nn.Module, ignored: frozenset[nn.Parameter]) -> None:
    """Refuse to train parameters that stay whole.

    Raises:
        MisconfigurationException: naming those that require grad.
    """
    trained = [
        name for name, parameter in module.named_parameters() if parameter in ignored and parameter.requires_grad
    ]
    if trained:
        message = (
            f"`FSDPStrategy(ignored_states=...)` holds parameters that are trained ({', '.join(trained)}), but FSDP2"
            " doesn't average their gradients over ranks, so each rank would come to weights of its own. Freeze them"
            " (`requires_grad_(False)`), or take them out of `ignored_states`."
        )
        raise MisconfigurationException(message)


def offload_policy(asked: Any, device: torch.device) -> OffloadPolicy:
    """Return where shards are kept.

    Args:
        asked: ``cpu_offload``: a bool, a policy of torch's, or the ``CPUOffload`` of FSDP's first version.
        device: of this rank; pinned memory is for accelerators.
    """
    if isinstance(asked, OffloadPolicy):
        return asked
    wanted = bool(getattr(asked, "offload_params", asked))
    return CPUOffloadPolicy(pin_memory=device.type != "cpu") if wanted else OffloadPolicy()


def mixed_precision_policy(asked: Any, dtypes: PrecisionDtypes) -> MixedPrecisionPolicy:
    """Return the formats of gathered weights and of gradients on their way.

    Args:
        asked: ``mixed_precision``: torch's policy, the ``MixedPrecision`` of FSDP's first version, or ``None``.
        dtypes: those of the precision, which hold unless something was asked for.

    Raises:
        MisconfigurationException: for a format of buffers, which stay as they are.
    """
    if isinstance(asked, MixedPrecisionPolicy):
        return asked
    if asked is None:
        return MixedPrecisionPolicy(param_dtype=dtypes.compute, reduce_dtype=dtypes.reduce)
    if getattr(asked, "buffer_dtype", None) not in (None, asked.param_dtype):
        message = (
            f"`mixed_precision` asks for buffers in {asked.buffer_dtype}, but FSDP2 leaves buffers as they are."
            " Convert them in the module, and leave `buffer_dtype` out."
        )
        raise MisconfigurationException(message)
    return MixedPrecisionPolicy(param_dtype=asked.param_dtype, reduce_dtype=asked.reduce_dtype)
