"""The job: the frozen bundle of collaborators that one entry point works with."""

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from typing import Any

from torch import nn

from lt_core.hook_plan import HookPlan
from lt_core.logging.publication import MetricBoard
from lt_core.logging.recorder import Recorder
from lt_core.run.signals import Signals
from lt_core.specs import TrainerSpecs
from lt_fabric.runtime import Runtime
from lt_interfaces.logger import Logger
from lt_interfaces.profiler import Profiler
from lt_interfaces.states import TrainerFn, TrainerState


@dataclass(frozen=True)
class RunLimits:
    """How long fitting may take and must take; -1: no limit."""

    max_epochs: int = -1
    min_epochs: int = 0
    max_steps: int = -1
    min_steps: int = 0


@dataclass(frozen=True)
class Resume:
    """The checkpoint that a call begins with, and how it's read."""

    path: str | PathLike[str] | None = None
    """``None``: begin anew."""
    weights_only: bool | None = None
    """``False`` unpickles arbitrary objects."""
    strict: bool = True
    """Whether a component of the run that has no state in the checkpoint is an error."""


@dataclass(frozen=True)
class Job:
    """Who works together in one call of fit, validate, test or predict. Nothing here changes during the call."""

    fn: TrainerFn
    runtime: Runtime
    specs: TrainerSpecs
    limits: RunLimits
    state: TrainerState
    module: Any
    """The user's LightningModule."""
    datamodule: Any | None
    callbacks: list[Any]
    loggers: list[Logger]
    profiler: Profiler | None
    hooks: HookPlan
    recorder: Recorder
    board: MetricBoard
    resume: Resume
    signals: Signals
    save: Callable[[str | PathLike[str], bool | None, Any], None]
    """Writes a checkpoint of the run; the loop calls it for requests."""
    compile_method: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None
    """Compiles the steps of the module; ``None``: they run as they are."""

    @property
    def model(self) -> nn.Module:
        """The user's module, as a torch module."""
        module: nn.Module = self.module
        return module
