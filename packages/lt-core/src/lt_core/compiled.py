"""Steps that `torch.compile` compiles: of modules that it returned, and of those that the Trainer is to compile."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import update_wrapper
from typing import Any, Final, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from lt_core.hook_plan import overrides
from lt_core.logging.slots import LogOptions
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.rank_zero import rank_zero_info

Step = Callable[..., Any]
Compile = Callable[[Step], Step]

_STEPS: Final = ("training_step", "validation_step", "test_step", "predict_step")


class TakesLog(Protocol):
    """What `LightningModule.log` passes its arguments on to."""

    def log(self, module: Any, name: str, *, value: Any, batch_size: int | None, options: LogOptions) -> None:
        """Take one value."""


class LogCall(NamedTuple):
    """One call of `self.log` within a compiled step."""

    module: Any
    name: str
    value: Any
    batch_size: int | None
    options: LogOptions


class PendingLog:
    """Stands in for the recorder while a compiled step runs, and keeps what's logged until the step has returned.

    A list that is appended to breaks no graph: the compiler takes the tensors out of its graph as outputs and appends
    behind it. It's empty when a step begins, as its length is something that compiled code depends on.

    Args:
        module: the module; those within it log as well.
    """

    def __init__(self, module: nn.Module) -> None:
        self.is_open = False
        """Whether a compiled step is running."""
        self._module: Final = module
        self._calls: list[LogCall] = []
        self._recorders: list[tuple[dict[str, Any], TakesLog | None]] = []

    def log(self, module: Any, name: str, *, value: Any, batch_size: int | None, options: LogOptions) -> None:
        """Keep one call. Tensors are copied: later code may change them in place, and so may the next step."""
        if isinstance(value, Tensor):
            value = (value if options.enable_graph else value.detach()).clone()
        self._calls.append(LogCall(module, name, value, batch_size, options))

    def open(self) -> None:
        """Take the place of the recorder, in the module and in those within it."""
        attributes = [vars(child) for child in self._module.modules() if "_recorder" in vars(child)]
        self._recorders = [(own, own["_recorder"]) for own in attributes]
        for own in attributes:
            own["_recorder"] = self
        self.is_open = True

    def close(self) -> list[LogCall]:
        """Give the recorder its place back and return what was logged, of which nothing is kept."""
        for own, recorder in self._recorders:
            own["_recorder"] = recorder
        calls, self._calls = self._calls, []
        self._recorders = []
        self.is_open = False
        return calls


class CompiledStep:
    """A method of a module, compiled; what it logs is recorded when it has returned, in the same hook.

    Args:
        method: as the user wrote it.
        compile_method: `torch.compile` with its settings.
        pending: shared by all methods of a module, as one may call another.
    """

    def __init__(self, method: Step, compile_method: Compile, pending: PendingLog) -> None:
        update_wrapper(self, method)  # its signature says which arguments it's called with
        self._method: Final = method
        self._compiled: Final = compile_method(method)
        self._pending: Final = pending

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the step."""
        if torch.compiler.is_compiling():  # called by another step that's being compiled: becomes a part of its graph
            return self._method(*args, **kwargs)
        pending = self._pending
        if pending.is_open:  # called by the uncompiled part of another one
            return self._compiled(*args, **kwargs)
        pending.open()
        calls: list[LogCall] = []
        try:
            outputs = self._compiled(*args, **kwargs)
        finally:
            calls = pending.close()
        for module, name, value, batch_size, options in calls:
            module.pass_log_on(name, value=value, batch_size=batch_size, options=options)
        return outputs


@dataclass(frozen=True)
class CompileWith:
    """Compiles functions with `torch.compile` and these arguments; equal to another that does so."""

    arguments: Mapping[str, Any]

    def __call__(self, step: Step) -> Step:
        """Return the function compiled."""
        compiled: Step = torch.compile(step, **self.arguments)
        return compiled


class CompiledSteps:
    """The compiled steps of a module. They stay with it between runs: what's compiled lives as long as they do.

    Args:
        module: the user's LightningModule.
        compile_method: `torch.compile` with its settings.
    """

    def __init__(self, module: Any, compile_method: Compile) -> None:
        self.compile_method: Final = compile_method
        self._module: Final = module
        self._pending: Final = PendingLog(module)
        self._steps: Final[dict[str, CompiledStep]] = {}

    def take(self, names: Iterable[str]) -> dict[str, CompiledStep]:
        """Return these steps by name; those of earlier runs are the same ones."""
        for name in names:
            if name not in self._steps:
                self._steps[name] = CompiledStep(getattr(self._module, name), self.compile_method, self._pending)
        return {name: self._steps[name] for name in names}


def unwrap_compiled(model: Any) -> Any:
    """Return the user's module from what `torch.compile` returned; others as they are."""
    original = getattr(model, "_orig_mod", None)
    return model if original is None or not isinstance(model, nn.Module) else original


def compiler_of(model: Any, asked: Mapping[str, Any] | None) -> Compile | None:
    """Return what compiles the steps of a module; ``None``: nothing does.

    Args:
        model: the module, or what `torch.compile` returned for it, whose settings its steps are compiled with.
        asked: the Trainer's own arguments for `torch.compile`.

    Raises:
        MisconfigurationException: when both say so.
    """
    is_compiled = isinstance(model, nn.Module) and model is not unwrap_compiled(model)
    if asked is None:
        compiled: Any = model  # typed as a plain module by torch
        return compiled.dynamo_ctx if is_compiled else None
    if is_compiled or getattr(model, "_compiled_call_impl", None) is not None:
        message = (
            f"`Trainer(compile=...)` compiles {type(unwrap_compiled(model)).__name__}, which was compiled by"
            " `torch.compile` already. Leave one of the two out."
        )
        raise MisconfigurationException(message)
    return CompileWith(asked)


@contextmanager
def compiled_steps(module: Any, compile_method: Compile | None) -> Iterator[None]:
    """Let a module have compiled steps for a while; afterwards its own ones are back.

    ``forward`` and the steps that the module defines are compiled. In manual optimization its training step isn't:
    it calls backward and steps optimizers, which counts on what happens in between and can't be one graph.

    Args:
        module: the user's LightningModule.
        compile_method: `torch.compile` with its settings; ``None``: nothing is compiled.
    """
    if compile_method is None:
        yield
        return
    attributes = vars(module)
    known = attributes["_compiled_steps"]
    if known is None or known.compile_method != compile_method:
        known = attributes["_compiled_steps"] = CompiledSteps(module, compile_method)
    steps = known.take([name for name in ("forward", *_compilable(module)) if name not in attributes])
    attributes.update(steps)
    try:
        yield
    finally:
        for name in steps:
            attributes.pop(name, None)


def _compilable(module: Any) -> list[str]:
    names = [name for name in _STEPS if overrides(module, name)]
    if not module.automatic_optimization and "training_step" in names:
        names.remove("training_step")
        rank_zero_info(
            f"`{type(module).__name__}.training_step` isn't compiled, as it steps its optimizers by itself"
            " (`automatic_optimization = False`); `forward` and the steps of evaluation are."
        )
    return names
