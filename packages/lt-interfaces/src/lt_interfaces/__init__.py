"""Contracts, table of hooks, plugin lookup and the floor that every lt package stands on."""

from lt_interfaces.accelerator import Accelerator
from lt_interfaces.accumulation import AccumulationWindow
from lt_interfaces.callback import Callback
from lt_interfaces.checkpoint_io import CheckpointIO, CheckpointTraits, Placement, StoredCheckpoint
from lt_interfaces.datamodule import DataModule
from lt_interfaces.environment import ClusterEnvironment
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.flag_exchange import FlagExchange
from lt_interfaces.hooks import HOOKS, Hearer, Hook, not_a_hook
from lt_interfaces.launcher import Launcher
from lt_interfaces.logger import Logger
from lt_interfaces.precision import Precision, PrecisionDtypes
from lt_interfaces.profiler import Profiler
from lt_interfaces.roles import (
    CheckpointRole,
    ProgressRole,
    Role,
    StopRole,
    SummaryRole,
    TimerRole,
    TunerRole,
)
from lt_interfaces.step_module import StepModule
from lt_interfaces.strategy import Assembly, Capability, Strategy
from lt_interfaces.trainer_view import RunControl, TrainerView, TrialControl

__all__ = [
    "HOOKS",
    "Accelerator",
    "AccumulationWindow",
    "Assembly",
    "Callback",
    "Capability",
    "CheckpointIO",
    "CheckpointRole",
    "CheckpointTraits",
    "ClusterEnvironment",
    "DataModule",
    "FlagExchange",
    "Hearer",
    "Hook",
    "Launcher",
    "Logger",
    "MisconfigurationException",
    "Placement",
    "Precision",
    "PrecisionDtypes",
    "Profiler",
    "ProgressRole",
    "Role",
    "RunControl",
    "StepModule",
    "StopRole",
    "StoredCheckpoint",
    "Strategy",
    "SummaryRole",
    "TimerRole",
    "TrainerView",
    "TrialControl",
    "TunerRole",
    "not_a_hook",
]
