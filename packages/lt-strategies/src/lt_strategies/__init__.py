"""Many processes for lt: DDP, launchers, cluster environments, failures that end well."""

from lt_strategies.ddp import DDPStrategy
from lt_strategies.environments.kubeflow import KubeflowEnvironment
from lt_strategies.environments.lsf import LSFEnvironment
from lt_strategies.environments.mpi import MPIEnvironment
from lt_strategies.environments.slurm import SLURMEnvironment
from lt_strategies.environments.torchelastic import TorchElasticEnvironment
from lt_strategies.job_processes import JobProcesses

__all__ = [
    "DDPStrategy",
    "JobProcesses",
    "KubeflowEnvironment",
    "LSFEnvironment",
    "MPIEnvironment",
    "SLURMEnvironment",
    "TorchElasticEnvironment",
]
