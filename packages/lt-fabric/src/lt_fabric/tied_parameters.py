"""Parameters that a module has under several names: finding them, and tying them again after they were replaced."""

from collections.abc import Iterable, Sequence

from torch import nn


def find_shared_parameters(module: nn.Module) -> list[list[str]]:
    """Return the names of each parameter that has several, the first one first.

    >>> model = nn.ModuleDict({"embedding": nn.Embedding(3, 2), "output": nn.Linear(2, 3)})
    >>> model["output"].weight = model["embedding"].weight
    >>> find_shared_parameters(model)
    [['embedding.weight', 'output.weight']]
    """
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [shared for shared in names.values() if len(shared) > 1]


def set_shared_parameters(module: nn.Module, shared_params: Iterable[Sequence[str]]) -> nn.Module:
    """Give the parameter of each group's first name to its other names, in place; return the module.

    For devices and casts that replace parameters by copies.

    Args:
        module: what the names are relative to.
        shared_params: what `find_shared_parameters` returned before.

    Raises:
        AttributeError: the module has no such name.
    """
    for first, *others in shared_params:
        parameter = module.get_parameter(first)
        for name in others:
            owner, _, attribute = name.rpartition(".")
            setattr(module.get_submodule(owner), attribute, parameter)
    return module
