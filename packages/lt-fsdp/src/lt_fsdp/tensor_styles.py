"""Dividing layers over ranks by what they're called: patterns of names, each with one of torch's styles."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, Final

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)

from lt_fsdp.meshes import TENSOR
from lt_interfaces.module_state import listed
from lt_interfaces.spelling import did_you_mean

NAMED: Final[Mapping[str, Callable[[nn.Module], ParallelStyle]]] = {
    "colwise": lambda layer: ColwiseParallel(output_layouts=Replicate() if _looks_up(layer) else None),
    "rowwise": lambda layer: RowwiseParallel(input_layouts=Replicate() if _looks_up(layer) else None),
    "sequence": lambda _: SequenceParallel(),
}
Styles = Mapping[str, str | ParallelStyle]
"""By pattern of the names that modules have in ``named_modules()``, in which ``*`` stands for any one part."""


def check_styles(styles: Mapping[str, Any]) -> None:
    """Refuse what isn't a style.

    Raises:
        ValueError: for an unknown name.
        TypeError: for anything else.
    """
    for pattern, style in styles.items():
        if isinstance(style, ParallelStyle):
            continue
        if not isinstance(style, str):
            message = (
                f"The style of `{pattern}` must be one of {', '.join(NAMED)}, or an object of torch's ParallelStyle,"
                f" such as `ColwiseParallel(...)`, not {style!r}."
            )
            raise TypeError(message)
        if style not in NAMED:
            message = (
                f"The style '{style}' of `{pattern}` must be one of {', '.join(NAMED)}, or an object of torch's"
                f" ParallelStyle.{did_you_mean(style, NAMED)}"
            )
            raise ValueError(message)


def divide(module: nn.Module, mesh: DeviceMesh, styles: Styles) -> None:
    """Divide the layers that patterns name, in place. Collective.

    Args:
        module: whole.
        mesh: of the job.
        styles: by pattern.

    Raises:
        ValueError: a pattern fits no module, or two patterns with different styles one.
    """
    for name, pattern in matched(module, styles).items():
        layer, style = module.get_submodule(name), styles[pattern]
        try:
            parallelize_module(layer, mesh[TENSOR], NAMED[style](layer) if isinstance(style, str) else style)
        except Exception as error:
            error.add_note(f"This came of dividing `{name}` as '{pattern}' says: {style!r}.")
            raise


def matched(module: nn.Module, styles: Styles) -> dict[str, str]:
    """Return for the name of each module that's to be divided the pattern that says so.

    Raises:
        ValueError: a pattern fits no module, or two patterns with different styles one.

    >>> matched(nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1)), {"*": "colwise"})
    {'0': '*', '1': '*'}
    """
    names = [name for name, _ in module.named_modules() if name]
    found: dict[str, str] = {}
    for pattern, style in styles.items():
        fitting = [name for name in names if _fits(name, pattern)]
        if not fitting:
            message = (
                f"`{pattern}` in `tensor_styles` fits no module of {type(module).__name__}.{_near(pattern, names)}"
            )
            raise ValueError(message)
        for name in fitting:
            if name in found and styles[found[name]] != style:
                message = (
                    f"`{name}` fits both `{found[name]}` and `{pattern}` in `tensor_styles`, which have different"
                    " styles. Let one of them name fewer modules."
                )
                raise ValueError(message)
            found[name] = pattern
    return found


def tied_parameters(module: nn.Module) -> list[list[str]]:
    """Return the names of each parameter that has several."""
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [one for one in names.values() if len(one) > 1]


def tie_again(module: nn.Module, tied: list[list[str]]) -> None:
    """Let what was one parameter before layers were divided be one again.

    Args:
        module: divided.
        tied: as `tied_parameters` returned it before.

    Raises:
        RuntimeError: it was divided in different ways.
    """
    for names in tied:
        first, *others = (module.get_parameter(name) for name in names)
        if not all(other is first or _are_divided_alike(first, other) for other in others):
            message = (
                f"One parameter, {listed(names)}, was divided in several ways. Divide all of its layers so that it's"
                " cut along the same dimension (an embedding 'rowwise' and a linear layer 'colwise', say), or none."
            )
            raise RuntimeError(message)
        for name in names[1:]:
            owner, _, own_name = name.rpartition(".")
            setattr(module.get_submodule(owner), own_name, first)


def _looks_up(layer: nn.Module) -> bool:
    """Say whether a layer takes numbers of rows, which every rank has, and gives rows, which the next layer needs."""
    return isinstance(layer, nn.Embedding)


def _are_divided_alike(one: nn.Parameter, other: nn.Parameter) -> bool:
    return (
        isinstance(one.data, DTensor)
        and isinstance(other.data, DTensor)
        and one.data.device_mesh == other.data.device_mesh
        and one.data.placements == other.data.placements
    )


def _fits(name: str, pattern: str) -> bool:
    parts, wanted = name.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def _near(pattern: str, names: list[str]) -> str:
    """Return a sentence that names what's called much the same; numbers don't count."""
    general = {".".join("*" if part.isdigit() else part for part in name.split(".")): None for name in names}
    near = get_close_matches(pattern, general, cutoff=0.5)
    return f" Near names are {listed(near)}." if near else f" It has {listed(list(general))}."
