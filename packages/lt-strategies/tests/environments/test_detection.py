import subprocess
import sys
from collections.abc import Callable

import pytest

from lt_fabric.local_environment import LocalEnvironment
from lt_interfaces import plugins

STARTERS: dict[str, dict[str, object]] = {
    "MPIEnvironment": {
        "OMPI_COMM_WORLD_SIZE": 2,
        "OMPI_COMM_WORLD_RANK": 0,
        "OMPI_COMM_WORLD_LOCAL_RANK": 0,
    },
    "LSFEnvironment": {
        "LSB_JOBID": 1,
        "LSB_DJOB_RANKFILE": "f",
        "JSM_NAMESPACE_LOCAL_RANK": 0,
        "JSM_NAMESPACE_SIZE": 2,
    },
    "SLURMEnvironment": {"SLURM_NTASKS": 2, "SLURM_PROCID": 0},
    "TorchElasticEnvironment": {"TORCHELASTIC_RUN_ID": "r"},
}


def test_a_plain_machine_is_local() -> None:
    assert plugins.detect("environments") is LocalEnvironment


@pytest.mark.parametrize("name", STARTERS)
def test_each_is_detected_by_its_own_variables(variables: Callable[..., None], name: str) -> None:
    variables(**STARTERS[name])
    assert plugins.detect("environments").__name__ == name


@pytest.mark.parametrize("outer", ["SLURMEnvironment", "MPIEnvironment", "LSFEnvironment"])
def test_torchrun_comes_before_what_started_it(variables: Callable[..., None], outer: str) -> None:
    variables(**STARTERS[outer], **STARTERS["TorchElasticEnvironment"])
    assert plugins.detect("environments").__name__ == "TorchElasticEnvironment"


def test_slurm_comes_before_lsf(variables: Callable[..., None]) -> None:
    variables(**STARTERS["LSFEnvironment"], **STARTERS["SLURMEnvironment"])
    assert plugins.detect("environments").__name__ == "SLURMEnvironment"


def test_lsf_comes_before_mpi(variables: Callable[..., None]) -> None:
    variables(**STARTERS["LSFEnvironment"], **STARTERS["MPIEnvironment"])
    assert plugins.detect("environments").__name__ == "LSFEnvironment"


def test_detecting_loads_nothing_heavy() -> None:
    program = (
        "import sys, torch; from lt_interfaces import plugins; plugins.detect('environments'); "
        "print(sorted({'mpi4py', 'torch.distributed.elastic', 'torch._dynamo', 'torch._inductor'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout == "[]\n"
