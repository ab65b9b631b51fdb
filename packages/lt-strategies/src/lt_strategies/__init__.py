"""Many processes for lt: DDP, launchers, cluster environments, failures that end well."""

from lt_strategies.ddp import DDPStrategy
from lt_strategies.job_processes import JobProcesses

__all__ = ["DDPStrategy", "JobProcesses"]
