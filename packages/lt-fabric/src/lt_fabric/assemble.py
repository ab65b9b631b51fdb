"""From what the user asked for to the parts of a run, checked against each other before anything is launched."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from lt_fabric.accelerator_choice import choose_accelerator
from lt_fabric.device_choice import choose_devices, is_interactive, started_processes
from lt_fabric.hardware import HardwareSpec
from lt_fabric.runtime import Runtime
from lt_interfaces import (
    Accelerator,
    Assembly,
    Capability,
    CheckpointIO,
    ClusterEnvironment,
    MisconfigurationException,
    Precision,
    Strategy,
    plugins,
)
from lt_interfaces.errors import PossibleUserWarning
from lt_interfaces.rank_zero import rank_zero_warn


def assemble(hardware: HardwareSpec, *, checkpoint_io: CheckpointIO | None = None) -> Runtime:
    """Resolve names, detect what's left to be detected, check the parts against each other and connect them.

    Called on the main process, before anything is launched.

    Args:
        hardware: the user's arguments.
        checkpoint_io: used instead of one from ``plugins`` or the strategy's default.

    Raises:
        MisconfigurationException: for settings or parts that don't work together, or devices that aren't there.
        ValueError: for an unknown name.
        MissingPackageError: for several processes without lt-strategies.

    >>> from lt_fabric.hardware import resolve_hardware
    >>> runtime = assemble(resolve_hardware(accelerator="cpu"))
    >>> runtime.strategy.root_device, runtime.precision.precision
    (device(type='cpu'), '32-true')
    """
    strategy = _given_strategy(hardware.strategy)
    accelerator = choose_accelerator(hardware.accelerator, getattr(strategy, "requested_device", None))
    environment: ClusterEnvironment = hardware.environment or plugins.detect("environments")()
    devices = choose_devices(hardware, accelerator, environment=environment, strategy=strategy)
    if strategy is None:
        strategy = _automatic_strategy(len(devices), hardware.num_nodes)
        _warn_if_each_runs_alone(environment, strategy)
    _warn_if_alone(hardware, strategy)
    precision = _make_precision(hardware.precision, devices[0])
    _refuse_unsupported(strategy, accelerator=accelerator, precision=precision)
    if strategy.supports(Capability.SEVERAL_PROCESSES):
        environment.validate_settings(len(devices), hardware.num_nodes)
    parts = Assembly(
        accelerator, devices, hardware.num_nodes, environment, precision, sync_batchnorm=hardware.sync_batchnorm
    )
    strategy.connect(parts)
    _refuse_interactive(strategy)
    return Runtime(
        accelerator=accelerator,
        environment=environment,
        strategy=strategy,
        precision=precision,
        checkpoint_io=_choose_checkpoint_io(checkpoint_io, hardware.checkpoint_io, strategy=strategy),
        num_nodes=hardware.num_nodes,
        devices=devices,
    )


def _warn_if_alone(hardware: HardwareSpec, strategy: Strategy) -> None:
    """Say that what the user asked for has no effect in a job of one process."""
    if hardware.sync_batchnorm and not strategy.supports(Capability.SEVERAL_PROCESSES):
        rank_zero_warn(
            f"`sync_batchnorm=True` has no effect with {type(strategy).__name__}: it runs one process, which has nobody"
            " to synchronise with.",
            category=PossibleUserWarning,
        )


def _warn_if_each_runs_alone(environment: ClusterEnvironment, strategy: Strategy) -> None:
    """Say that a job of several processes was given one device: each of them does all the work, into the same files."""
    started = started_processes(environment)
    if started > 1 and not strategy.supports(Capability.SEVERAL_PROCESSES):
        rank_zero_warn(
            f"One device was asked for, but this is one of {started} processes: each of them runs alone, over all the "
            "data. Set `devices` and `num_nodes` to what was started, or say by `strategy='single_device'` that this "
            "is meant.",
            category=PossibleUserWarning,
        )


def _given_strategy(strategy: str | Strategy) -> Strategy | None:
    """Return the strategy the user named or gave; ``None`` leaves the choice to us."""
    if not isinstance(strategy, str):
        return strategy
    if strategy == "auto":
        return None
    made: Strategy = plugins.resolve("strategies", strategy)()
    return made


def _automatic_strategy(num_devices: int, num_nodes: int) -> Strategy:
    if num_devices * num_nodes == 1:
        name = "single_device"
    else:
        name = "ddp_fork" if is_interactive() and num_nodes == 1 else "ddp"
    strategy: Strategy = plugins.resolve("strategies", name)()
    return strategy


def _make_precision(asked: str | Precision, device: torch.device) -> Precision:
    if not isinstance(asked, str):
        return asked
    precision: Precision = plugins.resolve("precisions", asked)(asked, device)
    return precision


def _choose_checkpoint_io(
    asked: CheckpointIO | None, plugin: CheckpointIO | None, *, strategy: Strategy
) -> CheckpointIO:
    if asked is not None and plugin is not None:
        message = (
            f"`checkpoint_io={asked!r}` and {plugin!r} in `plugins` both say where checkpoints go. Give one of them."
        )
        raise MisconfigurationException(message)
    chosen = asked if asked is not None else plugin
    if chosen is not None:
        return chosen
    default: CheckpointIO = plugins.resolve("checkpoint_ios", strategy.default_checkpoint_io)()
    return default


def _refuse_unsupported(strategy: Strategy, *, accelerator: Accelerator, precision: Precision) -> None:
    name = type(strategy).__name__
    if not strategy.supports(accelerator):
        message = (
            f"{name} doesn't work with `accelerator='{accelerator.name}'`. "
            "Leave `strategy='auto'`, or choose another accelerator."
        )
        raise MisconfigurationException(message)
    if not strategy.supports(precision):
        message = (
            f"{name} doesn't work with `precision='{precision.precision}'`."
            f"{_listed(' Precisions that go with it', _precisions_for(strategy))}"
            f"{_listed(' Strategies that take this precision', _strategies_for(precision, accelerator))}"
        )
        raise MisconfigurationException(message)


def _precisions_for(strategy: Strategy) -> list[str]:
    """Return the names of installed precisions that a strategy takes, of those that can be made here."""
    made = _made("precisions", lambda make, name: make(name, torch.device("cpu")))
    return [name for name, precision in made if strategy.supports(precision)]


def _strategies_for(precision: Precision, accelerator: Accelerator) -> list[str]:
    """Return the names of installed strategies that take a precision on this kind of device, one for each class."""
    by_class: dict[type, str] = {}
    for name, strategy in _made("strategies", lambda make, _: make()):
        if strategy.supports(precision) and strategy.supports(accelerator):
            by_class.setdefault(type(strategy), name)
    return list(by_class.values())


def _made(kind: str, make: Callable[[Any, str], Any]) -> Iterator[tuple[str, Any]]:
    """Make every installed plugin of a kind; what can't be made, such as one without its engine, is no way out."""
    for name in plugins.candidates(kind):
        try:
            yield name, make(plugins.resolve(kind, name), name)
        except Exception:  # whatever a stranger's plugin raises, the error at hand is another
            continue


def _listed(what: str, names: Iterable[str]) -> str:
    found = ", ".join(repr(name) for name in names)
    return f"{what}: {found}." if found else ""


def _refuse_interactive(strategy: Strategy) -> None:
    """Refuse a launcher that runs the script again where there's no script."""
    launcher = strategy.launcher
    if launcher is None or launcher.is_interactive_compatible or not is_interactive():
        return
    message = (
        f"{type(strategy).__name__} starts processes in a way that doesn't work in an interactive session. "
        "Use `strategy='ddp_notebook'`, or run a script."
    )
    raise MisconfigurationException(message)
