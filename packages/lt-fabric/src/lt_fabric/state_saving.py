"""Between the objects in a user's state and what a checkpoint holds of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from os import PathLike
from typing import Any

from torch import nn
from torch.optim import Optimizer

from lt_fabric.data.stateful import RANKS, StatePerRank
from lt_fabric.gathering import gather_objects
from lt_fabric.optimizer_proxy import unwrap_optimizer
from lt_fabric.runtime import Runtime
from lt_fabric.wrappers import unwrap_module
from lt_interfaces.checkpoint_io import Place, Placement, placed_in
from lt_interfaces.plain_values import from_plain, to_stored

Filter = Mapping[str, Callable[[str, Any], bool]]


class StateSaving:
    """Saves and loads states: nested dicts and lists of modules, optimizers, objects with a state dict, and values.

    Called on every rank.

    Args:
        runtime: its strategy knows the portable form of modules and optimizers, its checkpoint IO the file.
        modules: those set up so far, where an optimizer's module is looked for.
    """

    def __init__(self, runtime: Runtime, modules: Iterable[nn.Module]) -> None:
        self._strategy = runtime.strategy
        self._checkpoint_io = runtime.checkpoint_io
        self._modules = modules

    def save(self, path: str | PathLike[str], state: Mapping[str, Any], *, keep: Filter | None = None) -> None:
        """Write what `read` returns in plain values; on rank 0, or on every rank where each has its part.

        Raises:
            TypeError: the state isn't a dict, or holds a value that a checkpoint can't hold; nothing was written.
        """
        if not isinstance(state, dict):
            message = f"`state` must be a dict, not {type(state).__name__}."
            raise TypeError(message)
        content = {key: to_stored(item, f"state[{key!r}]") for key, item in self.read(state, keep).items()}
        if self._strategy.is_global_zero or self._checkpoint_io.traits.sharded:
            self._checkpoint_io.save_checkpoint(content, path)
        self._strategy.barrier("save")

    def open(self, path: str | PathLike[str], *, weights_only: bool | None, into: Any = None) -> dict[str, Any]:
        """Return what a file holds, once every rank is here.

        Args:
            path: of the file.
            weights_only: ``False`` unpickles arbitrary objects, too.
            into: the state, or the one object, that will be filled: each rank reads only its part of sharded tensors.
        """
        self._strategy.barrier("load")
        if self._strategy.restores_after_setup:
            placement = placed_in(dict(self._placements(into, ())))
            content = self._checkpoint_io.load_placed(path, placement, weights_only=weights_only)
        else:
            content = self._checkpoint_io.load_checkpoint(path, weights_only=weights_only)
        return {key: from_plain(item) for key, item in content.items()}

    def read(self, state: Mapping[str, Any], keep: Filter | None = None) -> dict[str, Any]:
        """Return the state with every object replaced by its own state.

        Args:
            state: the user's.
            keep: for some of the keys, which entries of their state to keep: ``keep[key](name, value)``.

        Raises:
            TypeError: ``keep`` isn't a dict of functions.
            ValueError: ``keep`` has a key that the state hasn't.
        """
        _check_filter(keep, state)
        content = {key: self._read(value) for key, value in state.items()}
        for key, keeps in (keep or {}).items():
            content[key] = {name: value for name, value in content[key].items() if keeps(name, value)}
        return content

    def fill(self, state: dict[str, Any], content: Mapping[str, Any], *, strict: bool = True) -> dict[str, Any]:
        """Fill the state's objects in place, replace its values, and return what it has no place for.

        Args:
            state: the user's.
            content: what `read` returned.
            strict: whether the content must have every key of the state, and modules' states must match.

        Raises:
            KeyError: when keys are missing; nothing was filled then.

        What a nested dict has no place for is put into that dict.
        """
        missing = sorted(str(key) for key in state if key not in content)
        if strict and missing:
            message = (
                f"The checkpoint lacks {missing} of the state; it has {sorted(map(str, content))}. "
                "Pass `strict=False` to leave these as they are."
            )
            raise KeyError(message)
        remainder = {key: value for key, value in content.items() if key not in state}
        for key in [key for key in state if key in content]:
            state[key] = self._filled(state[key], content[key], strict=strict)
        return remainder

    def load(self, obj: Any, content: Any, *, strict: bool = True) -> None:
        """Fill one module, optimizer or object with a state dict.

        Raises:
            TypeError: for anything else.
        """
        if isinstance(obj, nn.Module):
            self._strategy.load_module_state(unwrap_module(obj), content, strict=strict)
        elif isinstance(obj, Optimizer):
            self._load_optimizer(unwrap_optimizer(obj), content)
        elif isinstance(obj, StatePerRank):
            states = content.get(RANKS, [content])
            strategy = self._strategy
            obj.load_rank_states(states, rank=strategy.global_rank, world_size=strategy.world_size)
        elif _is_stateful(obj):
            obj.load_state_dict(content)
        else:
            message = f"`obj` must be a module, an optimizer or have `load_state_dict`, not {type(obj).__name__}."
            raise TypeError(message)

    def _placements(self, value: Any, place: Place) -> Iterator[tuple[Place, Placement | None]]:
        """Yield where the tensors of each module and optimizer in a state are read to, by the object's place."""
        if isinstance(value, nn.Module):
            yield place, self._strategy.placement(unwrap_module(value))
        elif isinstance(value, Optimizer):
            yield place, self._strategy.placement(unwrap_optimizer(value))
        elif isinstance(value, dict):
            for key, item in value.items():
                yield from self._placements(item, (*place, key))
        elif type(value) in (list, tuple):
            for index, item in enumerate(value):
                yield from self._placements(item, (*place, index))

    def _read(self, value: Any) -> Any:
        if isinstance(value, nn.Module):
            return self._strategy.module_state(unwrap_module(value))
        if isinstance(value, Optimizer):
            return self._read_optimizer(unwrap_optimizer(value))
        if isinstance(value, StatePerRank):
            states = gather_objects(self._strategy, value.state_dict())
            return states[0] if len(states) == 1 else {RANKS: states}
        if _is_stateful(value):
            return value.state_dict()
        if isinstance(value, dict):
            return {key: self._read(item) for key, item in value.items()}
        if type(value) in (list, tuple):
            return type(value)(self._read(item) for item in value)
        return value

    def _filled(self, value: Any, content: Any, *, strict: bool) -> Any:
        """Return what takes the value's place: itself if it could be filled."""
        if isinstance(value, nn.Module | Optimizer) or _is_stateful(value):
            self.load(value, content, strict=strict)
            return value
        if not _holds_objects(value):
            return content
        if isinstance(value, dict):
            value.update(self.fill(value, content, strict=strict))
            return value
        if len(value) != len(content):
            message = f"The state has {len(value)} objects where the checkpoint has {len(content)}; make both agree."
            raise ValueError(message)
        return type(value)(self._filled(item, part, strict=strict) for item, part in zip(value, content, strict=True))

    def _read_optimizer(self, optimizer: Optimizer) -> dict[str, Any]:
        module = self._module_of(optimizer)
        return optimizer.state_dict() if module is None else self._strategy.optimizer_state(module, optimizer)

    def _load_optimizer(self, optimizer: Optimizer, content: dict[str, Any]) -> None:
        module = self._module_of(optimizer)
        if module is None:
            optimizer.load_state_dict(content)
        else:
            self._strategy.load_optimizer_state(module, optimizer, content)

    def _module_of(self, optimizer: Optimizer) -> nn.Module | None:
        """Return the set-up module whose parameters the optimizer steps; none for parameters of the user's own."""
        stepped = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        for module in self._modules:
            if any(id(parameter) in stepped for parameter in module.parameters()):
                return unwrap_module(module)
        return None


def _is_stateful(value: object) -> bool:
    methods = (getattr(value, name, None) for name in ("state_dict", "load_state_dict"))
    return not isinstance(value, type) and all(callable(method) for method in methods)


def _holds_objects(value: Any) -> bool:
    """Say whether a collection has, at any depth, something to be filled rather than replaced."""
    if isinstance(value, dict):
        return any(_holds_objects(item) for item in value.values())
    if type(value) in (list, tuple):
        return any(_holds_objects(item) for item in value)
    return isinstance(value, nn.Module | Optimizer) or _is_stateful(value)


def _check_filter(keep: Any, state: Mapping[str, Any]) -> None:
    if keep is None:
        return
    if not isinstance(keep, Mapping) or not all(callable(function) for function in keep.values()):
        message = f"`filter` must be a dict of functions `(name, value) -> bool`, not {keep!r}."
        raise TypeError(message)
    unknown = sorted(set(keep) - set(state))
    if unknown:
        message = f"`filter` names {unknown}, which the state hasn't; its keys are {sorted(state)}."
        raise ValueError(message)
