"""Optimizer state by parameter name: the one form in which it crosses from one strategy to another.

torch numbers the parameters of an optimizer in the order of its groups; the portable form has the module's full
parameter names instead, in ``state`` and in each group's ``params``. It is the form of
`torch.distributed.checkpoint.state_dict` too.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

# What torch's own wrappers put into names; the portable form has the names of the unwrapped module.
_WRAPPER_PARTS = ("_orig_mod.", "_checkpoint_wrapped_module.", "_fsdp_wrapped_module.")


def optimizer_state_to_names(module: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """Return the optimizer's state dict in portable form; its tensors are shared, not copied.

    Parameters that the optimizer doesn't hold (frozen ones) don't appear; a parameter that the module has under
    several names appears under the first.

    Raises:
        ValueError: the optimizer holds a parameter that isn't the module's.

    >>> from torch import optim
    >>> layer = nn.Linear(2, 1)
    >>> optimizer_state_to_names(layer, optim.SGD(layer.parameters(), lr=0.1))["param_groups"][0]["params"]
    ['weight', 'bias']
    """
    indexed = optimizer.state_dict()
    groups = _names_of_groups(module, optimizer)
    name_of = {
        index: name
        for group, names in zip(indexed["param_groups"], groups, strict=True)
        for index, name in zip(group["params"], names, strict=True)
    }
    portable = [
        {key: value for key, value in group.items() if key != "param_names"} | {"params": names}
        for group, names in zip(indexed["param_groups"], groups, strict=True)
    ]
    return {
        "state": {name_of[index]: state for index, state in indexed["state"].items()},
        "param_groups": portable,
    }


def optimizer_state_from_names(module: nn.Module, optimizer: Optimizer, portable: Mapping[str, Any]) -> dict[str, Any]:
    """Return a portable state as the state dict that ``optimizer.load_state_dict`` takes.

    The order of groups and of the parameters inside may differ from the one saved. Nothing is changed.

    Raises:
        ValueError: the groups don't hold the same parameters as the ones saved.
    """
    aliases = _first_names(module)
    saved = [
        dict(group) | {"params": [aliases.get(name, name) for name in group["params"]]}
        for group in portable["param_groups"]
    ]
    wanted = _names_of_groups(module, optimizer)
    order = _match_groups(wanted, [group["params"] for group in saved])
    numbers: dict[str, int] = {}
    groups = []
    for own, names, position in zip(optimizer.param_groups, wanted, order, strict=True):
        first = len(numbers)
        numbers.update({name: first + offset for offset, name in enumerate(names)})
        group = saved[position] | {"params": [numbers[name] for name in names]}
        if "param_names" in own:
            group["param_names"] = own["param_names"]
        groups.append(group)
    state = {numbers[aliases.get(name, name)]: value for name, value in portable["state"].items()}
    return {"state": state, "param_groups": groups}


def load_optimizer_state(module: nn.Module, optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Load a state into an optimizer, whether its parameters go by torch's numbers or by full name."""
    is_by_name = any(isinstance(name, str) for group in state["param_groups"] for name in group["params"])
    optimizer.load_state_dict(optimizer_state_from_names(module, optimizer, state) if is_by_name else dict(state))


def _first_names(module: nn.Module) -> dict[str, str]:
    """Map every name of every parameter to the first name of the same parameter."""
    first_of: dict[int, str] = {}
    aliases: dict[str, str] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        clean = _without_wrappers(name)
        aliases[clean] = first_of.setdefault(id(parameter), clean)
    return aliases


def _without_wrappers(name: str) -> str:
    for part in _WRAPPER_PARTS:
        name = name.replace(part, "")
    return name


def _names_of_groups(module: nn.Module, optimizer: Optimizer) -> list[list[str]]:
    names = {id(parameter): _without_wrappers(name) for name, parameter in module.named_parameters()}
    groups = []
    for position, group in enumerate(optimizer.param_groups):
        foreign = [tuple(parameter.shape) for parameter in group["params"] if id(parameter) not in names]
        if foreign:
            message = (
                f"Group {position} of {type(optimizer).__name__} holds parameters of the shapes {foreign} that "
                f"{type(module).__name__} doesn't have, so their state has no name. Make them attributes of the module."
            )
            raise ValueError(message)
        groups.append([names[id(parameter)] for parameter in group["params"]])
    return groups


def _match_groups(wanted: list[list[str]], saved: list[list[str]]) -> list[int]:
    """Find for each wanted group the saved one with the same parameters; empty groups match in order."""
    free = list(range(len(saved)))
    order = []
    for position, names in enumerate(wanted):
        match = next((index for index in free if set(saved[index]) == set(names)), None)
        if match is None:
            known = {name for group in saved for name in group}
            missing = sorted(set(names) - known)
            reason = f"nothing was saved for {missing}" if missing else "its parameters were grouped differently"
            message = f"The saved optimizer state doesn't fit: group {position} holds {names}, but {reason}."
            raise ValueError(message)
        free.remove(match)
        order.append(match)
    if free:
        message = (
            f"The saved optimizer state doesn't fit: it has parameters that this optimizer doesn't hold: "
            f"{[saved[index] for index in free]}"
        )
        raise ValueError(message)
    return order
