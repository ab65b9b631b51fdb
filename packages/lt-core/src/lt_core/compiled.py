"""Steps that `torch.compile` compiles: of modules that it returned, and of those that the Trainer is to compile."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
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
_is_tracing: Final[Callable[[], bool]] = vars(torch.jit)["is_tracing"]  # torch leaves it untyped


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
    """

    def __init__(self) -> None:
        self._calls: list[LogCall] = []

    def log(self, module: Any, name: str, *, value: Any, batch_size: int | None, options: LogOptions) -> None:
        """Keep one call. Tensors are copied: later code may change them in place."""
        if isinstance(value, Tensor):
            value = (value if options.enable_graph else value.detach()).clone()
        self._calls.append(LogCall(module, name, value, batch_size, options))

    def take(self) -> list[LogCall]:
        """Return what was logged, and keep nothing of it."""
        calls, self._calls = self._calls, []
        return calls


class CompiledStep:
    """A method of a module, compiled.

    Args:
        method: as the user wrote it.
        steps: of the module, to which it belongs.
    """

    def __init__(self, method: Step, steps: "CompiledSteps") -> None:
        update_wrapper(self, method)  # its signature says which arguments it's called with
        self._method: Final = method
        self._steps: Final = steps
        self._compiled: Final = steps.compile_method(method)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the step."""
        # It becomes a part of what's being made: the graph of another step that calls it, or an export.
        if torch.compiler.is_compiling() or _is_tracing():
            return self._method(*args, **kwargs)
        return self._steps.run(self._compiled, *args, **kwargs)


class CompiledSteps:
    """The compiled steps of a module. They stay with it between runs: what's compiled lives as long as they do.

    Args:
        module: the user's LightningModule.
        compile_method: `torch.compile` with its settings.
    """

    def __init__(self, module: Any, compile_method: Compile) -> None:
        self.compile_method: Final = compile_method
        self._module: Final = module
        self._steps: Final[dict[str, CompiledStep]] = {}
        self._pending: Final = PendingLog()
        self._is_stepping = False
        self._logging: list[dict[str, Any]] | None = None
        self._uncompiled: Final[dict[Any, Any]] = {}
        self._run: Final = ExitStack()

    def take(self, names: Iterable[str]) -> dict[str, CompiledStep]:
        """Return these steps by name; those of earlier runs are the same ones."""
        for name in names:
            if name not in self._steps:
                self._steps[name] = CompiledStep(getattr(self._module, name), self)
        return {name: self._steps[name] for name in names}

    def run(self, compiled: Step, *args: Any, **kwargs: Any) -> Any:
        """Run a compiled step; what it logs is recorded when it has returned, in the same hook."""
        if self._is_stepping:  # called by the uncompiled part of another one
            return compiled(*args, **kwargs)
        attributes = self._begin_run() if self._logging is None else self._logging
        recorders = [own["_recorder"] for own in attributes]
        for own in attributes:
            own["_recorder"] = self._pending
        self._is_stepping = True
        calls: list[LogCall] = []
        try:
            outputs = compiled(*args, **kwargs)
        finally:
            self._is_stepping = False
            for own, recorder in zip(attributes, recorders, strict=True):
                own["_recorder"] = recorder
            calls = self._pending.take()
        for module, name, value, batch_size, options in calls:
            module.pass_log_on(name, value=value, batch_size=batch_size, options=options)
        return outputs

    def end_run(self) -> None:
        """Leave everything within the module as it was before the first step."""
        self._logging = None
        self._run.close()

    def _begin_run(self) -> list[dict[str, Any]]:
        """Look at what's within the module at the first step, when all of it has been made."""
        # Loaded where something is compiled alone: `import lt_core` keeps within its budget of modules.
        from lt_core.logging.uncompiled import uncompiled_metrics

        self._run.enter_context(uncompiled_metrics(self._module, self._uncompiled))
        self._logging = [vars(child) for child in self._module.modules() if "_recorder" in vars(child)]
        return self._logging


@dataclass(frozen=True)
class CompileWith:
    """Compiles functions with `torch.compile` and these arguments; equal to another that does so."""

    arguments: Mapping[str, Any]

    def __call__(self, step: Step) -> Step:
        """Return the function compiled."""
        compiled: Step = torch.compile(step, **self.arguments)
        return compiled


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
        known.end_run()
        for name in steps:
            attributes.pop(name, None)


@contextmanager
def own_methods(module: nn.Module) -> Iterator[None]:
    """Give a module its own methods back for a while, for exports, which read their code."""
    attributes = vars(module)
    steps = {name: value for name, value in attributes.items() if isinstance(value, CompiledStep)}
    for name in steps:
        del attributes[name]
    try:
        yield
    finally:
        attributes.update(steps)


def _compilable(module: Any) -> list[str]:
    names = [name for name in _STEPS if overrides(module, name)]
    if not module.automatic_optimization and "training_step" in names:
        names.remove("training_step")
        rank_zero_info(
            f"`{type(module).__name__}.training_step` isn't compiled, as it steps its optimizers by itself"
            " (`automatic_optimization = False`); `forward` and the steps of evaluation are."
        )
    return names
