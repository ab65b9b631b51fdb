import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from lt_interfaces.testing import EnvironmentContract
from lt_strategies import SLURMEnvironment


def srun(variables: Callable[..., None], *, nodes: int = 2, per_node: str = "2(x2)", tasks: int = 4) -> None:
    variables(SLURM_JOB_NAME="train", SLURM_JOB_ID=4711, SLURM_STEP_ID=1, SLURM_NTASKS=tasks)
    variables(SLURM_PROCID=tasks - 1, SLURM_LOCALID=1, SLURM_NODEID=nodes - 1, SLURM_STEP_NUM_NODES=nodes)
    variables(SLURM_STEP_TASKS_PER_NODE=per_node, SLURM_STEP_NODELIST="n[03-04]", SLURM_JOB_NODELIST="n[01-04]")


def batch_script(variables: Callable[..., None], *, tasks: int) -> None:
    variables(ENVIRONMENT="BATCH", SLURM_JOB_NAME="train", SLURM_JOB_ID=4711, SLURM_NTASKS=tasks)
    variables(SLURM_PROCID=0, SLURM_LOCALID=0, SLURM_NODEID=0, SLURM_TASKS_PER_NODE=tasks)


class TestSLURMEnvironment(EnvironmentContract):
    @pytest.fixture
    def environment(self, variables: Callable[..., None]) -> SLURMEnvironment:
        srun(variables, nodes=1, per_node="4")
        return SLURMEnvironment()


def test_reads_what_srun_says(variables: Callable[..., None]) -> None:
    srun(variables)
    environment = SLURMEnvironment()
    assert environment.detect()
    assert environment.creates_processes_externally
    assert (environment.global_rank(), environment.local_rank(), environment.node_rank()) == (3, 1, 1)
    assert environment.world_size() == 4


def test_rank_zero_is_on_the_first_node_of_the_step(
    variables: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    srun(variables)
    assert SLURMEnvironment().main_address == "n03"
    monkeypatch.delenv("SLURM_STEP_NODELIST")
    assert SLURMEnvironment().main_address == "n01"
    variables(MASTER_ADDR="there")
    assert SLURMEnvironment().main_address == "there"


def test_jobs_and_steps_on_one_node_meet_at_ports_of_their_own(variables: Callable[..., None]) -> None:
    ports = set()
    for job in (4711, 4712, 14711):
        for step in range(3):
            variables(SLURM_JOB_ID=job, SLURM_STEP_ID=step)
            ports.add(SLURMEnvironment().main_port)
    assert len(ports) == 9
    variables(MASTER_PORT=5000)
    assert SLURMEnvironment().main_port == 5000


def test_the_batch_script_meets_at_another_port_than_its_first_step(variables: Callable[..., None]) -> None:
    variables(SLURM_JOB_ID=4711)
    outside = SLURMEnvironment().main_port
    variables(SLURM_STEP_ID=0)
    assert SLURMEnvironment().main_port != outside


def test_without_a_job_there_is_nothing_to_derive_a_port_from() -> None:
    assert SLURMEnvironment().main_port == 12910


@pytest.mark.parametrize("name", ["bash", "interactive"])
def test_a_shell_that_somebody_types_in_is_left_alone(variables: Callable[..., None], name: str) -> None:
    srun(variables, nodes=1, per_node="1", tasks=1)
    variables(SLURM_JOB_NAME=name)
    assert not SLURMEnvironment.detect()


def test_the_shell_of_an_allocation_is_left_alone(variables: Callable[..., None]) -> None:
    variables(SLURM_JOB_NAME="train", SLURM_JOB_ID=4711, SLURM_NTASKS=4, SLURM_NNODES=2)
    assert not SLURMEnvironment.detect()


def test_several_tasks_started_from_such_a_shell_are_a_job(variables: Callable[..., None]) -> None:
    srun(variables)
    variables(SLURM_JOB_NAME="interactive", SLURM_STEP_NUM_TASKS=4)
    assert SLURMEnvironment.detect()


@pytest.mark.parametrize(
    ("devices", "nodes", "words"),
    [
        (2, 1, r"`num_nodes=1`, but SLURM runs this job on 2 node\(s\).*#SBATCH --nodes=1"),
        (4, 2, r"`devices` \(4 here\).*SLURM runs 2 task\(s\) per node.*#SBATCH --ntasks-per-node=4"),
    ],
)
def test_settings_that_do_not_match_are_refused(
    variables: Callable[..., None], devices: int, nodes: int, words: str
) -> None:
    srun(variables)
    SLURMEnvironment().validate_settings(num_devices=2, num_nodes=2)
    with pytest.raises(ValueError, match=words):
        SLURMEnvironment().validate_settings(num_devices=devices, num_nodes=nodes)


def test_tasks_that_slurm_shared_out_unevenly_are_refused(variables: Callable[..., None]) -> None:
    srun(variables, per_node="2,1", tasks=3)
    with pytest.raises(ValueError, match=r"SLURM runs 1 and 2 task\(s\) per node.*--ntasks-per-node=2"):
        SLURMEnvironment().validate_settings(num_devices=2, num_nodes=2)


@pytest.mark.parametrize("asked", [{"SLURM_NTASKS_PER_NODE": 2}, {"SLURM_TASKS_PER_NODE": "2(x2)"}])
def test_settings_are_compared_by_what_the_job_asked_for(variables: Callable[..., None], asked: dict[str, str]) -> None:
    variables(SLURM_NTASKS=4, SLURM_PROCID=0, SLURM_STEP_ID=0, **asked)
    SLURMEnvironment().validate_settings(num_devices=2, num_nodes=2)
    with pytest.raises(ValueError, match=r"2 task\(s\) per node"):
        SLURMEnvironment().validate_settings(num_devices=3, num_nodes=2)


def test_a_step_smaller_than_its_job_is_compared_by_its_own_numbers(variables: Callable[..., None]) -> None:
    srun(variables, nodes=1, per_node="1", tasks=1)
    variables(SLURM_NTASKS_PER_NODE=2, SLURM_JOB_NUM_NODES=2)
    SLURMEnvironment().validate_settings(num_devices=1, num_nodes=1)


def test_tasks_of_unknown_nodes_are_refused(variables: Callable[..., None]) -> None:
    variables(SLURM_NTASKS=4, SLURM_PROCID=0, SLURM_STEP_ID=0)
    with pytest.raises(RuntimeError, match="#SBATCH --ntasks-per-node=N"):
        SLURMEnvironment().validate_settings(num_devices=2, num_nodes=2)


def test_a_batch_script_without_srun_is_warned(variables: Callable[..., None], tmp_path: Path) -> None:
    batch_script(variables, tasks=1)
    variables(PATH=tmp_path)
    SLURMEnvironment()  # where there's no srun, nobody can use it
    program(tmp_path / "srun", "exit 0")
    with pytest.warns(UserWarning, match="`srun` hasn't started it"):
        SLURMEnvironment()
    variables(SLURM_STEP_ID=0)
    SLURMEnvironment()


def test_tasks_that_srun_has_not_started_are_not_waited_for(variables: Callable[..., None], tmp_path: Path) -> None:
    batch_script(variables, tasks=2)
    variables(PATH=tmp_path)
    with pytest.raises(ValueError, match=r"has 2 tasks.*but 1 process was started, without `srun`"):
        SLURMEnvironment().validate_settings(num_devices=2, num_nodes=1)


def test_what_mpirun_starts_within_a_job_is_left_to_it(variables: Callable[..., None]) -> None:
    srun(variables)
    variables(OMPI_COMM_WORLD_SIZE=4)
    assert not SLURMEnvironment.detect()


def test_the_end_of_a_batch_jobs_time_is_announced_by_the_signal_asked_for(variables: Callable[..., None]) -> None:
    srun(variables)
    variables(ENVIRONMENT="BATCH")
    assert SLURMEnvironment().requeue_signal is signal.SIGUSR1
    assert SLURMEnvironment(requeue_signal=signal.SIGUSR2).requeue_signal is signal.SIGUSR2
    assert SLURMEnvironment(auto_requeue=False).requeue_signal is None
    assert SLURMEnvironment(auto_requeue=False, requeue_signal=signal.SIGUSR2).requeue_signal is None


def test_what_is_no_batch_job_can_not_be_queued_again(variables: Callable[..., None]) -> None:
    assert SLURMEnvironment().requeue_signal is None
    srun(variables)
    assert SLURMEnvironment().requeue_signal is None


@pytest.mark.parametrize(
    ("array", "expected"),
    [({}, "4711"), ({"SLURM_ARRAY_JOB_ID": 4700, "SLURM_ARRAY_TASK_ID": 11}, "4700_11")],
)
def test_scontrol_is_told_to_queue_this_job_or_element(
    variables: Callable[..., None], tmp_path: Path, array: dict[str, int], expected: str
) -> None:
    program(tmp_path / "scontrol", f'echo "$@" > {tmp_path}/told')
    variables(SLURM_JOB_ID=4711, PATH=tmp_path, **array)
    SLURMEnvironment().requeue()
    assert (tmp_path / "told").read_text() == f"requeue {expected}\n"


def test_scontrols_refusal_is_passed_on(variables: Callable[..., None], tmp_path: Path) -> None:
    variables(SLURM_JOB_ID=4711, PATH=tmp_path)
    with pytest.raises(RuntimeError, match=r"`scontrol requeue 4711` failed: .*scontrol"):
        SLURMEnvironment().requeue()
    program(tmp_path / "scontrol", "echo 'Job may no longer be requeued' >&2; exit 1")
    with pytest.raises(RuntimeError, match="ended with code 1 and said: Job may no longer be requeued"):
        SLURMEnvironment().requeue()


def test_without_a_job_nothing_can_be_queued_again() -> None:
    with pytest.raises(RuntimeError, match="SLURM_JOB_ID isn't set"):
        SLURMEnvironment().requeue()


def program(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
