"""The hook plan: who really hears each hook of the table, resolved once per stage."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from inspect import signature, unwrap
from itertools import dropwhile, islice
from types import CodeType
from typing import Any, Protocol

from lt_core.profiling import action_name, profiled
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.hooks import BY_NAME, HOOKS, RETIRED, Hearer, Hook, Kind
from lt_interfaces.profiler import Profiler
from lt_interfaces.roles import Role
from lt_interfaces.spelling import edit_distance

Hear = Callable[..., Any]

_BASES = ("lt_core.module", "lt_interfaces.", "lt_datamodules.datamodule")
"""Modules of the users' base classes, whose methods are defaults."""


class HookClock(Protocol):
    """Knows which hook runs now; `log` asks it for its rules."""

    hook: str | None


@dataclass(frozen=True)
class _Hearing:
    """One method that hears a hook."""

    hear: Hear
    action: str
    """What its span is called under a profiler."""
    is_mute: bool
    """Whether what it returns is dropped."""
    saver: str | None
    """The key of the checkpoint callback that it belongs to, if it does."""


class HookPlan:
    """Tells hearers of a moment. A hook that nobody overrides costs one empty loop.

    It's resolved when a run starts, and again when the list of callbacks changes.
    """

    def __init__(self, clock: HookClock, profiler: Profiler | None = None) -> None:
        self._clock = clock
        self._profiler = profiler
        self.hearers: dict[str, tuple[Hear, ...]] = _nobody()
        """Who hears each hook. The loop over a hook's hearers in a step is written out, so that a hook that nobody
        hears costs no call."""
        self.interrupted: Sequence[str | None] = (None, None)
        """The hook and the checkpoint callback within which the checkpoint was saved that this run goes on from; no
        callback where somebody else saved it, before all of them."""
        self._parties: tuple[Any, ...] = ()
        self._saver: str | None = None
        self._savers: dict[str, list[tuple[str, Hear]]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out who hears what, which can't be pickled: a process that gets a plan resolves it anew."""
        return {**vars(self), "hearers": _nobody(), "_savers": {}}

    def resolve(self, trainer: Any, callbacks: Iterable[Any], *, module: Any, datamodule: Any | None) -> None:
        """Find out who hears what; called before a stage and when callbacks change."""
        callbacks = list(callbacks)
        self._parties = (trainer, callbacks, module, datamodule)
        self.interrupted = (None, None)
        for hook in HOOKS:
            if hook.kind is Kind.EVENT:
                hearers = _hearers_of(hook, trainer, callbacks=callbacks, module=module, datamodule=datamodule)
                hears = tuple(self._within(hook.name, hearer) for hearer in hearers)
                self.hearers[hook.name] = hears
                self._savers[hook.name] = [
                    (hearer.saver, hear)
                    for hearer, hear in zip(hearers, hears, strict=True)
                    if hearer.saver is not None
                ]

    def resume(self) -> None:
        """Take a plan up in a process that it was sent to, and attach what's attached where it came from."""
        trainer, callbacks, module, datamodule = self._parties
        module.trainer = trainer
        if datamodule is not None:
            datamodule.trainer = trainer
        self.resolve(trainer, callbacks, module=module, datamodule=datamodule)

    def notify(self, name: str, *args: Any) -> Any:
        """Tell everybody who hears the hook, in the table's order; return what the module answered, if it's last."""
        answer = None
        for hear in self.hearers[name]:
            answer = hear(*args)
        return answer

    @property
    def moment(self) -> tuple[str | None, str | None]:
        """The hook that is told now, and the checkpoint callback that hears it; a file saved now goes on after it."""
        return self._clock.hook, self._saver

    def catch_up(self, name: str, *args: Any) -> None:
        """Tell the checkpoint callbacks that come after the one whose file a run goes on from, if it was this hook."""
        hook, saver = self.interrupted
        if hook != name:
            return
        self.interrupted = (None, None)
        left = iter(self._savers[name])
        if saver is not None:
            left = islice(dropwhile(lambda known: known[0] != saver, left), 1, None)
        for _, hear in left:
            hear(*args)

    def _within(self, name: str, hearer: _Hearing) -> Hear:
        """Wrap a hearer so that the clock shows the hook while it runs, also when it raises."""
        clock, mute = self._clock, hearer.is_mute
        hear = profiled(self._profiler, hearer.action, hearer.hear)
        if hearer.saver is not None:
            hear = self._noting(hear, hearer.saver)

        def heard(*args: Any) -> Any:
            outer = clock.hook
            clock.hook = name
            try:
                answer = hear(*args)
            finally:
                clock.hook = outer
            return None if mute else answer

        return heard

    def _noting(self, hear: Hear, saver: str) -> Hear:
        """Wrap a checkpoint callback's hearer so that what it saves says where it was saved."""

        def noted(*args: Any) -> Any:
            self._saver = saver
            try:
                return hear(*args)
            finally:
                self._saver = None

        return noted


def _nobody() -> dict[str, tuple[Hear, ...]]:
    return {hook.name: () for hook in HOOKS}


def overrides(owner: Any, name: str) -> bool:
    """Say whether an object's class (or the object itself) brings its own method for a hook.

    The users' base classes mark their defaults by living in an lt package; a method of an object that has no such
    base counts as its own. A method set to ``None`` is switched off.
    """
    if name in vars(owner):
        return vars(owner)[name] is not None
    for base in type(owner).__mro__:
        if name in vars(base):
            return vars(base)[name] is not None and not base.__module__.startswith(_BASES)
    return hasattr(owner, name)


def _hearers_of(
    hook: Hook, trainer: Any, *, callbacks: Sequence[Any], module: Any, datamodule: Any | None
) -> list[_Hearing]:
    """Return who hears a hook, in the table's order."""
    monitors = [callback for callback in callbacks if _is_monitor(callback)] if Hearer.MONITOR in hook.heard_by else []
    groups: dict[Hearer, list[Any]] = {
        Hearer.CALLBACK: [callback for callback in callbacks if callback not in monitors],
        Hearer.MONITOR: monitors,
        Hearer.MODULE: [module],
        Hearer.DATAMODULE: [] if datamodule is None else [datamodule],
    }
    found: list[_Hearing] = []
    for hearer in hook.heard_by:
        if (hook.name, hearer) in _CALLED_APART:
            continue
        is_callback = hearer in (Hearer.CALLBACK, Hearer.MONITOR)
        for owner in groups[hearer]:
            if _hears(owner, hook.name):
                method = getattr(owner, hook.name)
                hear = _leading(method, trainer, module) if is_callback else method
                saver = owner.state_key if getattr(owner, "role", None) is Role.CHECKPOINT else None
                action = action_name(_KIND[hearer], owner, hook.name)
                found.append(_Hearing(hear, action, is_mute=is_callback, saver=saver))
    return found


def _hears(owner: Any, name: str) -> bool:
    """Say whether the loop must call this hook of this object."""
    return (name in _ALWAYS_CALLED and hasattr(owner, name)) or overrides(owner, name)


_KIND = {
    Hearer.CALLBACK: "Callback",
    Hearer.MONITOR: "Callback",
    Hearer.MODULE: "LightningModule",
    Hearer.DATAMODULE: "LightningDataModule",
}

_CALLED_APART = frozenset({("on_load_checkpoint", Hearer.MODULE)})
"""Hooks that a hearer gets at a moment of its own: the module sees a checkpoint before its weights are loaded."""

_ALWAYS_CALLED = frozenset({"on_validation_model_zero_grad"})
"""Module hooks whose default does something."""


def _is_monitor(callback: Any) -> bool:
    return getattr(callback, "role", None) in (Role.CHECKPOINT, Role.STOP)


def _leading(method: Hear, trainer: Any, module: Any) -> Hear:
    """Return a callback's method with the arguments that all its hooks begin with."""

    def hear(*args: Any) -> Any:
        return method(trainer, module, *args)

    return hear


def check_hook_names(owner: Any, hearer: Hearer) -> None:
    """Refuse ``on_*`` methods that look like a misspelt hook, and hooks that were retired.

    A method that another one of the class calls by its name is the class's own, whatever it's called.

    Raises:
        MisconfigurationException: naming the method, the class and the right name; `not_a_hook` opts out.
        NotImplementedError: for a retired hook, naming its replacement.
    """
    known = [hook.name for hook in HOOKS if hearer in hook.heard_by or _also_monitor(hook, hearer)]
    for name in _own_methods(type(owner)):
        if name in RETIRED and name not in BY_NAME and not _calls(type(owner), name):
            message = (
                f"`{type(owner).__name__}.{name}` is never called: the hook was retired. Use `{RETIRED[name]}` instead."
            )
            raise NotImplementedError(message)
        if not name.startswith("on_") or name in BY_NAME or hasattr(getattr(type(owner), name), "__not_a_hook__"):
            continue
        close = [hook for hook in known if edit_distance(name, hook) <= 2]
        if close and not _calls(type(owner), name):
            message = (
                f"`{type(owner).__name__}.{name}` isn't a hook, so it would never be called. Did you mean `{close[0]}`?"
                " If it's a method of your own, mark it with `@not_a_hook` (from lt_interfaces) or rename it."
            )
            raise MisconfigurationException(message)


def _also_monitor(hook: Hook, hearer: Hearer) -> bool:
    return hearer is Hearer.CALLBACK and Hearer.MONITOR in hook.heard_by


def _own_methods(cls: type) -> dict[str, Hear]:
    """Return the callable attributes that a class and its bases outside torch and lt define."""
    methods: dict[str, Hear] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.split(".")[0] in ("builtins", "torch", "lt_interfaces", "lt_core", "lt_datamodules"):
            continue
        methods |= {name: value for name, value in vars(base).items() if callable(value) and not name.startswith("__")}
    return methods


def _calls(cls: type, name: str) -> bool:
    """Say whether another method of a class mentions the method, as one does that calls it."""
    others = (unwrap(method) for other, method in _own_methods(cls).items() if other != name)
    return any(name in code.co_names for method in others for code in _code_of(getattr(method, "__code__", None)))


def _code_of(code: CodeType | None) -> Iterator[CodeType]:
    """Yield a function's code, and that of the functions in it."""
    if code is None:
        return
    yield code
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _code_of(inner)


def takes_argument(function: Hear, name: str, position: int) -> bool:
    """Say whether a function has an argument of this name or at least this many positional ones.

    Args:
        function: a bound method.
        name: the argument's name.
        position: its place, from 0, when it's passed by position; `sys.maxsize`: only the name counts.
    """
    parameters = signature(function).parameters
    if name in parameters:
        return True
    kinds = [parameter.kind for parameter in parameters.values()]
    positional = sum(kind.name in ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD") for kind in kinds)
    is_open = any(kind.name == "VAR_POSITIONAL" for kind in kinds)
    return position != sys.maxsize and (positional > position or is_open)
