"""Parameters that sharding has put others in the place of, for optimizers made before."""

from collections.abc import Iterable, Mapping
from typing import Final
from weakref import ref

from torch import nn
from torch.optim import Optimizer

from lt_fsdp.shards import like_its_parameter

_WRAPPER: Final = "_checkpoint_wrapped_module."


class ReplacedParameters:
    """Finds for a parameter that a module had before it was sharded the one that it has now."""

    def __init__(self) -> None:
        self._found: Final[dict[int, tuple[ref[nn.Parameter], nn.Parameter]]] = {}

    def note(self, before: Mapping[str, nn.Parameter], module: nn.Module) -> None:
        """Note what became of the parameters of a module.

        Args:
            before: those before it was sharded, by name.
            module: sharded.
        """
        for name, parameter in parameters_by_name(module).items():
            old = before[name]
            if old is not parameter:
                # An id is one object's for as long as that lives.
                self._found[id(old)] = (ref(old), parameter)

    def put_into(self, optimizers: Iterable[Optimizer], known: Iterable[nn.Parameter]) -> None:
        """Let optimizers step the sharded parameters; what they know of the ones before is sharded, too.

        Args:
            optimizers: made before or after sharding.
            known: the parameters of all modules that were set up.

        Raises:
            RuntimeError: an optimizer has parameters of no such module.
        """
        own = {id(parameter) for parameter in known}
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["params"] = [self._current(one, optimizer, own) for one in group["params"]]

    def _current(self, parameter: nn.Parameter, optimizer: Optimizer, own: set[int]) -> nn.Parameter:
        if id(parameter) in own:
            return parameter
        old, new = self._found.get(id(parameter), (None, None))
        if old is None or old() is not parameter or new is None:
            message = (
                f"{type(optimizer).__name__} holds a parameter of the shape {tuple(parameter.shape)} that no module"
                " which was set up has. Make the optimizer of parameters of the module, after or before it's set up."
            )
            raise RuntimeError(message)
        if parameter in optimizer.state:
            optimizer.state[new] = like_its_parameter(optimizer.state.pop(parameter), new)
        return new


def parameters_by_name(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters of a module by the names that its state has them under."""
    return {name.replace(_WRAPPER, ""): parameter for name, parameter in module.named_parameters()}
