"""Which submodules of a model are sharded as units: gathered, used and freed together."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from inspect import signature
from typing import Any

from torch import nn

WrapPolicy = Callable[..., bool] | Iterable[type[nn.Module]] | None
"""A function that says of a module whether it's a unit, the classes whose instances are, or ``None``: the repeated
blocks of the model."""


def units_of(module: nn.Module, policy: Any) -> list[nn.Module]:
    """Return the units below a module, those inside of others first; the module itself is never among them.

    Args:
        module: the model.
        policy: a `WrapPolicy`, or one of torch's policies for FSDP, such as ``ModuleWrapPolicy``.

    Raises:
        TypeError: for anything else.

    >>> model = nn.Sequential(nn.Embedding(8, 4), *(nn.Linear(4, 4) for _ in range(3)))
    >>> len(units_of(model, None)), len(units_of(model, {nn.Embedding})), len(units_of(model, lambda module: True))
    (3, 1, 4)
    """
    below = [one for one in module.modules() if one is not module and _has_forward(one)]
    if policy is None:
        repeated = {id(block) for block in _repeated_blocks(module)}
        chosen = [one for one in below if id(one) in repeated]
    else:
        is_unit = _predicate(policy)
        chosen = [one for one in below if is_unit(one)]
    wanted = {id(one) for one in chosen if _has_parameters(one)}
    return [one for one in _inside_out(module, set()) if id(one) in wanted]


def _inside_out(module: nn.Module, seen: set[int]) -> Iterator[nn.Module]:
    """Yield each module once, after those that it holds."""
    for child in module.children():
        if id(child) not in seen:
            yield from _inside_out(child, seen)
    seen.add(id(module))
    yield module


def _predicate(policy: Any) -> Callable[[nn.Module], bool]:
    classes = _classes(policy)
    if classes is not None:
        return lambda module: isinstance(module, classes)
    by_torch = getattr(policy, "_module_classes", None)  # torch's ModuleWrapPolicy
    if by_torch is not None:
        return lambda module: isinstance(module, tuple(by_torch))
    function = getattr(policy, "_lambda_fn", policy)  # torch's LambdaWrapPolicy
    if not callable(function) or isinstance(function, nn.Module):
        message = (
            "`auto_wrap_policy` must be a set of module classes, a function `(module) -> bool` or None, not"
            f" {policy!r}."
        )
        raise TypeError(message)
    if "nonwrapped_numel" not in signature(function).parameters:
        return lambda module: bool(function(module))
    # The older form: what isn't wrapped below is counted by the caller.
    return lambda module: bool(function(module=module, recurse=False, nonwrapped_numel=_numel(module)))


def _classes(policy: Any) -> tuple[type[nn.Module], ...] | None:
    if isinstance(policy, type) or not isinstance(policy, Iterable):
        return None
    classes = tuple(policy)
    wrong = [one for one in classes if not (isinstance(one, type) and issubclass(one, nn.Module))]
    if wrong or not classes:
        message = (
            f"`auto_wrap_policy` must hold classes of modules, e.g. {{nn.TransformerEncoderLayer}}, not {policy!r}."
        )
        raise TypeError(message)
    return classes


def _repeated_blocks(module: nn.Module) -> list[nn.Module]:
    """Return the modules of which a list or sequence holds several of one class.

    Of blocks within blocks these are the outer ones: a unit should be worth a collective.
    """
    children = [child for child in module.children() if _has_parameters(child)]
    kinds = Counter(type(child) for child in children)
    is_sequence = isinstance(module, nn.ModuleList | nn.Sequential)
    blocks = [child for child in children if is_sequence and kinds[type(child)] > 1 and _has_forward(child)]
    others = [child for child in children if all(child is not block for block in blocks)]
    return [*blocks, *(block for other in others for block in _repeated_blocks(other))]


def _has_parameters(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


def _has_forward(module: nn.Module) -> bool:
    """Say whether a module is called itself; lists and dicts of modules aren't."""
    return not isinstance(module, nn.ModuleList | nn.ModuleDict)


def _numel(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
