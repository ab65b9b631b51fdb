"""Conformance suites, one per contract, and the tiny models and data that tests everywhere use; needs pytest.

A suite is a pytest class. An implementation subclasses it, overrides its fixture and passes it whole::

    class TestMyLogger(LoggerContract):
        @pytest.fixture
        def logger(self, tmp_path):
            return MyLogger(tmp_path)

What it can't promise is marked as an expected failure, with the reason.
"""

from lt_interfaces.testing import _rewriting  # noqa: F401  # before the suites, see there
from lt_interfaces.testing.accelerator import AcceleratorContract
from lt_interfaces.testing.callback import CallbackContract
from lt_interfaces.testing.checkpoint_io import CheckpointIOContract
from lt_interfaces.testing.data import RandomDataset, RandomIterableDataset, RegressionDataset
from lt_interfaces.testing.datamodule import DataModuleContract
from lt_interfaces.testing.distributed import DistributedStrategyContract, DistributedWindowContract
from lt_interfaces.testing.environment import EnvironmentContract
from lt_interfaces.testing.launcher import LauncherContract
from lt_interfaces.testing.logger import LoggerContract
from lt_interfaces.testing.models import TinyRegressor
from lt_interfaces.testing.precision import PrecisionContract
from lt_interfaces.testing.profiler import ProfilerContract
from lt_interfaces.testing.protocol import (
    RoleContract,
    RunControlContract,
    StepModuleContract,
    TrainerViewContract,
)
from lt_interfaces.testing.ranks import run_in_processes
from lt_interfaces.testing.strategy import StrategyContract
from lt_interfaces.testing.window import WindowContract

__all__ = [
    "AcceleratorContract",
    "CallbackContract",
    "CheckpointIOContract",
    "DataModuleContract",
    "DistributedStrategyContract",
    "DistributedWindowContract",
    "EnvironmentContract",
    "LauncherContract",
    "LoggerContract",
    "PrecisionContract",
    "ProfilerContract",
    "RandomDataset",
    "RandomIterableDataset",
    "RegressionDataset",
    "RoleContract",
    "RunControlContract",
    "StepModuleContract",
    "StrategyContract",
    "TinyRegressor",
    "TrainerViewContract",
    "WindowContract",
    "run_in_processes",
]
