"""Finding a module's linear layers by name, replacing them, and naming those whose size an engine can't take."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from torch import nn

from lt_interfaces.errors import MisconfigurationException

ModuleFilter = Callable[[nn.Module, str], bool]
"""Whether a layer, given with its full name, is to be converted."""


def linear_layers(module: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """Yield each linear layer with its full name.

    Only plain ones: what is derived from ``nn.Linear`` (the projection inside ``nn.MultiheadAttention``, layers that
    were converted before) is read by its owner in ways we can't know, and stays as it is.

    >>> [name for name, _ in linear_layers(nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1)))]
    ['0', '2']
    """
    for name, part in module.named_modules():
        if type(part) is nn.Linear and "weight" in part._parameters:
            yield name, part


def untied_linear_layers(module: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """Yield the linear layers whose weight no other layer holds: a tied one can't be quantised for one of them alone.

    >>> head = nn.Linear(4, 8, bias=False)
    >>> tied = nn.ModuleDict({"embedding": nn.Embedding(8, 4), "hidden": nn.Linear(4, 4), "head": head})
    >>> head.weight = tied["embedding"].weight
    >>> [name for name, _ in untied_linear_layers(tied)]
    ['hidden']
    """
    owners = Counter(
        id(parameter) for part in module.modules() for parameter in part._parameters.values() if parameter is not None
    )
    return ((name, layer) for name, layer in linear_layers(module) if owners[id(layer.weight)] == 1)


def replaced(module: nn.Module, replacements: Iterable[tuple[str, nn.Module]]) -> nn.Module:
    """Return the module with layers replaced that have the names given; one named ``""`` is the module itself.

    A layer that stands in several places is replaced in all of them.

    >>> replaced(nn.Sequential(nn.Linear(2, 2), nn.Tanh()), [("0", nn.Identity())])
    Sequential(
      (0): Identity()
      (1): Tanh()
    )
    """
    places = dict(module.named_modules(remove_duplicate=False))
    for name, layer in replacements:
        if not name:
            return layer
        old = places[name]
        layer.train(old.training)
        # torch's encoder layers read the weights of linear layers without hooks, and multiply, when they evaluate...
        layer.register_forward_pre_hook(_computes_itself)
        for place in [place for place, part in places.items() if part is old]:
            path, _, attribute = place.rpartition(".")
            setattr(module.get_submodule(path), attribute, layer)
    for part in module.modules():
        if isinstance(part, nn.TransformerEncoder):
            part.use_nested_tensor = False  # ...and a stack of them counts on it where there's padding
    return module


def refuse_sizes(layers: Iterable[tuple[str, nn.Linear]], *, multiple: int, what: str, way_out: str) -> None:
    """Refuse layers whose sizes aren't multiples of what the kernels need, naming each of them.

    Args:
        layers: those that shall be converted, with their full names.
        multiple: what both sizes of a layer must be divisible by.
        what: who needs it, as the user spelled it.
        way_out: a sentence that takes the tuple of the names, to leave them out.

    Raises:
        MisconfigurationException: names, sizes, and the way out.
    """
    unfit = {
        name: (layer.in_features, layer.out_features)
        for name, layer in layers
        if layer.in_features % multiple or layer.out_features % multiple
    }
    if unfit:
        listed = ", ".join(f"`{name}` ({inputs} to {outputs})" for name, (inputs, outputs) in unfit.items())
        message = (
            f"{what} takes linear layers whose sizes are multiples of {multiple}, which these aren't: {listed}. Change"
            f" their sizes, or leave them out: {way_out.format(names=set(unfit))}"
        )
        raise MisconfigurationException(message)


def _computes_itself(layer: nn.Module, inputs: tuple[object, ...]) -> None:
    """Change nothing."""
