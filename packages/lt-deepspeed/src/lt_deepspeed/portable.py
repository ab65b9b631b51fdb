"""States that lie in an engine's shards, in the one form that all strategies load; collective calls, all of them.

Weights are the engine's fp32 ones where it computes in another format, so that nothing is rounded on the way.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lt_deepspeed.engines import EngineModule
from lt_deepspeed.installation import deepspeed
from lt_interfaces import MisconfigurationException
from lt_interfaces.module_state import HoldsWeights, load_state_dict_clearly
from lt_interfaces.portable_state import optimizer_state_from_names
from lt_interfaces.rank_zero import rank_zero_warn


def is_sharded(module: nn.Module) -> bool:
    """Say whether a module's parameters are shards, as `deepspeed.zero.Init` makes them."""
    return any(hasattr(parameter, "ds_id") for parameter in module.parameters())


def module_state(module: nn.Module, placed: EngineModule | None) -> dict[str, Any]:
    """Return a module's whole state dict, in CPU memory where it had to be gathered."""
    state = module.state_dict()
    if not is_sharded(module) and (placed is None or placed.optimizer is None):
        return state
    whole: dict[str, Any] = {}
    parameters = dict(module.named_parameters(remove_duplicate=False))
    at_hand: dict[int, Tensor] = {}
    for name, value in state.items():
        parameter = parameters.get(name)
        if parameter is None:
            whole[name] = value
            continue
        if id(parameter) not in at_hand:
            at_hand[id(parameter)] = _whole(parameter, placed)
        whole[name] = at_hand[id(parameter)]
    return whole


def load_module_state(module: nn.Module, state: Mapping[str, Any], *, placed: EngineModule | None, strict: bool) -> Any:
    """Load a state dict into a module, and into the engine's fp32 weights."""
    target: HoldsWeights = module
    if is_sharded(module):
        target = type(type(module).__name__, (_ShardedWeights,), {})(module)  # messages name the class
    incompatible = load_state_dict_clearly(target, state, strict=strict)
    if placed is not None and placed.optimizer is not None:
        for name, parameter in module.named_parameters(remove_duplicate=False):
            if parameter.requires_grad and name in state:
                _set_shard(parameter, state[name])
    return incompatible


def optimizer_state(placed: EngineModule) -> dict[str, Any]:
    """Return the optimizer's complete state, parameters by number, in CPU memory."""
    assert placed.optimizer is not None
    portable = placed.optimizer.state_dict()
    portable["state"] = {}
    for numbered in _numbered(placed):
        held = _held_by_group(placed, numbered.group)
        if held is not None and numbered.parameter.requires_grad:
            portable["state"][numbered.number] = {
                key: value.clone() if isinstance(value, Tensor) else torch.tensor(float(value))
                for key, value in held.plain.items()
            } | {key: _whole(numbered.parameter, placed, key) for key in held.sharded}
    return portable


def load_optimizer_state(placed: EngineModule, state: Mapping[str, Any]) -> None:
    """Load an optimizer's state into the engine's shards, and its settings into the user's optimizer."""
    optimizer = placed.optimizer
    assert optimizer is not None
    is_by_name = any(isinstance(name, str) for group in state["param_groups"] for name in group["params"])
    numbered = optimizer_state_from_names(placed.module, optimizer, state) if is_by_name else state
    optimizer.load_state_dict({"state": {}, "param_groups": numbered["param_groups"]})
    by_group: dict[int, list[tuple[nn.Parameter, Mapping[str, Any]]]] = {}
    for one in _numbered(placed):
        if one.number in numbered["state"] and one.parameter.requires_grad:
            by_group.setdefault(one.group, []).append((one.parameter, numbered["state"][one.number]))
    for group, saved in by_group.items():
        _fill_group(placed, group, saved)


class _Numbered(NamedTuple):
    """A parameter with its number in the optimizer's state dict, and the engine's number of its group."""

    number: int
    group: int
    parameter: nn.Parameter


class _Held(NamedTuple):
    """What the engine's optimizer holds for a group."""

    sharded: tuple[str, ...]
    """Names of what there's one element of for each of the parameters'."""
    plain: Mapping[str, Any]
    """The rest, such as the number of steps."""


def _numbered(placed: EngineModule) -> Iterator[_Numbered]:
    assert placed.optimizer is not None
    number = group_number = 0
    for group in placed.optimizer.param_groups:
        for parameter in group["params"]:
            yield _Numbered(number, group_number, parameter)
            number += 1
        group_number += bool(group["params"])  # engines leave empty groups out


def _flat_shards(placed: EngineModule, group: int) -> list[Tensor]:
    """Return the engine's flat fp32 shards of a group's parameters."""
    zero = placed.zero_optimizer
    if placed.stage < 3:
        return [zero.single_partition_of_fp32_groups[group]]
    shards = enumerate(zero.fp32_partitioned_groups_flat)
    return [shard for number, shard in shards if zero.sub_group_to_group_id[number] == group]


def _held_by_group(placed: EngineModule, group: int) -> _Held | None:
    flat = _flat_shards(placed, group)[0]
    state = placed.base_optimizer.state.get(flat)
    if not state:
        return None
    _link(placed, group)
    sharded = tuple(key for key, value in state.items() if _is_sharded_state(key, value, flat))
    plain = {key: value for key, value in state.items() if key not in sharded and value is not None}
    return _Held(sharded, plain)


def _link(placed: EngineModule, group: int) -> None:
    """Let parameters find their part of the optimizer's flat state.

    DeepSpeed does so by itself, once, in its first step: when only the first group has a state.
    """
    if placed.stage < 3:
        (flat,) = _flat_shards(placed, group)
        parameters = placed.zero_optimizer.bit16_groups[group]
        deepspeed("utils").lazy_init_hp_params_optimizer_state(parameters, flat, placed.base_optimizer.state)


def _is_sharded_state(key: str, value: Any, like: Tensor) -> bool:
    return isinstance(value, Tensor) and key != "step" and value.shape == like.shape


def _fill_group(placed: EngineModule, group: int, saved: list[tuple[nn.Parameter, Mapping[str, Any]]]) -> None:
    first_parameter, first = saved[0]
    whole_shape = _whole_shape(first_parameter)
    sharded = [
        key
        for key, value in first.items()
        if isinstance(value, Tensor) and key != "step" and value.shape == whole_shape
    ]
    plain = {key: value for key, value in first.items() if key not in sharded}
    _warn_of_other_steps(saved)
    counts_in_tensors = type(placed.base_optimizer).__module__.startswith("torch.")
    if "step" in plain:
        steps = float(plain["step"])
        plain["step"] = torch.tensor(steps) if counts_in_tensors else int(steps)
    for flat in _flat_shards(placed, group):
        if flat.numel() == 0:
            message = (
                "DeepSpeed can't take an optimizer's state where it's kept on NVMe. Go on with"
                " `offload_optimizer_device='cpu'`, which loads the same file."
            )
            raise MisconfigurationException(message)
        fresh = {key: torch.zeros_like(flat) for key in sharded}
        placed.base_optimizer.state[flat] = {
            **{key: value.clone() if isinstance(value, Tensor) else value for key, value in plain.items()},
            **fresh,
        }
    _link(placed, group)
    for parameter, state in saved:
        for key in sharded:
            _set_shard(parameter, state[key], key)


def _warn_of_other_steps(saved: list[tuple[nn.Parameter, Mapping[str, Any]]]) -> None:
    steps = {float(state["step"]) for _, state in saved if "step" in state}
    if len(steps) > 1:
        rank_zero_warn(
            f"The parameters of one group were stepped {sorted(steps)} times by the optimizer whose state is loaded."
            " DeepSpeed counts steps once per group: its bias correction follows the first parameter's."
        )


def _whole_shape(parameter: nn.Parameter) -> torch.Size:
    shape: torch.Size = getattr(parameter, "ds_shape", parameter.shape)
    return torch.Size(shape)


def _whole(parameter: nn.Parameter, placed: EngineModule | None, key: str | None = None) -> Tensor:
    """Return a whole parameter in fp32, or what the optimizer keeps for it under a key."""
    utils = deepspeed("utils")
    if parameter.requires_grad and placed is not None and placed.optimizer is not None:
        get = utils.safe_get_full_fp32_param if key is None else utils.safe_get_full_optimizer_state
        found: Tensor | None = get(parameter) if key is None else get(parameter, key)
        if found is not None:
            return found.detach().cpu().clone()
    with deepspeed().zero.GatheredParameters([parameter], enabled=hasattr(parameter, "ds_id")):
        return parameter.detach().cpu().clone()


def _set_shard(parameter: nn.Parameter, value: Tensor, key: str | None = None) -> None:
    """Set this rank's part of a parameter in fp32, or of what the optimizer keeps for it under a key."""
    utils = deepspeed("utils")
    value = value.detach().to(device=parameter.device, dtype=torch.float32)
    if not hasattr(parameter, "ds_id"):
        if key is None:
            utils.safe_set_full_fp32_param(parameter, value)
        else:
            utils.safe_set_full_optimizer_state(parameter, value, key)
        return
    # Shards have one size on all ranks, so that the last one may go beyond the parameter's end.
    size = parameter.ds_tensor.numel()  # type: ignore[attr-defined]  # DeepSpeed's
    part = torch.zeros(size, dtype=value.dtype, device=value.device)
    own = value.flatten()[dist.get_rank() * size :][:size]
    part[: own.numel()] = own
    if key is None:
        utils.safe_set_local_fp32_param(parameter, part)
    else:
        utils.safe_set_local_optimizer_state(parameter, part, key)


class _ShardedWeights:
    """Loads a state dict into a module whose parameters are shards, gathering one layer's at a time.

    Args:
        module: the user's.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def state_dict(self) -> dict[str, Any]:
        """Return the state dict's names and shapes; parameters have no content."""
        parameters = dict(self._module.named_parameters(remove_duplicate=False))
        return {
            name: torch.empty(_whole_shape(parameters[name]), device="meta") if name in parameters else value
            for name, value in self._module.state_dict().items()
        }

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Any:
        """Load as `torch.nn.Module.load_state_dict` does."""
        known = self.state_dict()
        missing = [name for name in known if name not in state_dict]
        unexpected = [name for name in state_dict if name not in known]
        problems: list[str] = []
        if strict and (missing or unexpected):
            message = f"missing keys {missing}, unexpected keys {unexpected}"
            raise RuntimeError(message)
        copied = dict(state_dict)
        for prefix, layer in self._module.named_modules():
            start = f"{prefix}." if prefix else ""
            own = [one for one in layer.parameters(recurse=False) if hasattr(one, "ds_id")]
            with deepspeed().zero.GatheredParameters(own, modifier_rank=0):
                layer._load_from_state_dict(copied, start, {}, False, [], [], problems)
        if problems:
            raise RuntimeError("\n".join(problems))
        return nn.modules.module._IncompatibleKeys(missing, unexpected)
