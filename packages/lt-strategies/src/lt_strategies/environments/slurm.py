"""The environment of SLURM: srun starts the processes, and a batch job can be put into the queue again."""

import os
import re
import shutil
import signal
import subprocess
from typing import ClassVar, Final

from lt_interfaces.rank_zero import rank_zero_warn
from lt_strategies.environments.ports import derived_port
from lt_strategies.environments.slurm_nodelist import expand_nodelist
from lt_strategies.environments.started_elsewhere import StartedElsewhere

_INTERACTIVE: Final = ("bash", "interactive")
_STARTED_BY_MPIRUN: Final = ("OMPI_COMM_WORLD_SIZE", "MPI_LOCALRANKID")
_SCONTROL_SECONDS: Final = 60
_PORT_WITHOUT_JOB: Final = 12910


class SLURMEnvironment(StartedElsewhere):
    """Tasks that ``srun`` has started, one for each device.

    Detected in batch scripts and steps that have tasks. A shell that somebody types in (``salloc``, ``srun --pty
    bash``) isn't a job, so the plain machine is found there; several tasks that ``srun`` starts from it are one. Where
    ``torchrun`` or ``mpirun`` started the processes within a job of SLURM's, it's them that are found.

    Args:
        auto_requeue: whether a batch job goes back into the queue when SLURM announces its end; the next start goes
            on from the checkpoint that was saved then.
        requeue_signal: by which SLURM announces it, as in ``#SBATCH --signal=SIGUSR1@90``; ``None``: SIGUSR1.
    """

    detection_priority: ClassVar[int] = 30

    def __init__(self, auto_requeue: bool = True, requeue_signal: signal.Signals | None = None) -> None:
        self.auto_requeue: Final = auto_requeue
        self._requeue_signal: Final = signal.SIGUSR1 if requeue_signal is None else requeue_signal
        _warn_without_srun()

    @classmethod
    def detect(cls) -> bool:
        # The shell of `salloc` has no SLURM_PROCID, whatever the job's name is.
        if "SLURM_NTASKS" not in os.environ or "SLURM_PROCID" not in os.environ:
            return False
        # mpirun starts its daemons on other nodes by srun, so there variables of SLURM's speak of those.
        if any(name in os.environ for name in _STARTED_BY_MPIRUN):
            return False
        is_interactive = os.environ.get("SLURM_JOB_NAME") in _INTERACTIVE
        return not is_interactive or int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1

    @property
    def main_address(self) -> str:
        if "MASTER_ADDR" in os.environ:
            return os.environ["MASTER_ADDR"]
        nodelist = _of_step_or_job("NODELIST") or os.environ.get("SLURM_JOB_NODELIST")
        return expand_nodelist(nodelist)[0] if nodelist else "127.0.0.1"

    @property
    def main_port(self) -> int:
        if "MASTER_PORT" in os.environ:
            return int(os.environ["MASTER_PORT"])
        job = os.environ.get("SLURM_JOB_ID")
        if job is None:
            return _PORT_WITHOUT_JOB
        # One more than the step: the batch script, which is outside of steps, has a port of its own.
        return derived_port(int(job), int(os.environ.get("SLURM_STEP_ID", "-1")) + 1)

    def world_size(self) -> int:
        return int(os.environ.get("SLURM_NTASKS", "1"))

    def global_rank(self) -> int:
        return int(os.environ.get("SLURM_PROCID", "0"))

    def local_rank(self) -> int:
        return int(os.environ.get("SLURM_LOCALID", "0"))

    def node_rank(self) -> int:
        return int(os.environ.get("SLURM_NODEID", "0"))

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Compare the user's ``devices`` and ``num_nodes`` with what SLURM started.

        Raises:
            ValueError: they disagree, nodes have different numbers of tasks, or several tasks were asked for but
                ``srun`` hasn't started them.
            RuntimeError: several tasks, and SLURM doesn't say how many there are on each node.
        """
        _refuse_tasks_not_started(self.world_size())
        tasks = _tasks_per_node(self.world_size())
        if tasks != num_devices:
            message = (
                f"`devices` ({num_devices} here) must be the tasks per node, but SLURM runs {tasks} task(s) "
                f"per node. Set `devices={tasks}`, or `#SBATCH --ntasks-per-node={num_devices}`."
            )
            raise ValueError(message)
        nodes = self.world_size() // tasks
        if nodes != num_nodes:
            message = (
                f"`num_nodes={num_nodes}`, but SLURM runs this job on {nodes} node(s). Set `num_nodes={nodes}`, or "
                f"`#SBATCH --nodes={num_nodes}`."
            )
            raise ValueError(message)

    @property
    def requeue_signal(self) -> signal.Signals | None:
        # sbatch sets it, and srun hands it on; sessions and a job of srun's own can't be queued again.
        is_batch_job = "SLURM_JOB_ID" in os.environ and os.environ.get("ENVIRONMENT") == "BATCH"
        return self._requeue_signal if self.auto_requeue and is_batch_job else None

    def requeue(self) -> None:
        command = ["scontrol", "requeue", _job_to_requeue()]
        try:
            subprocess.run(command, capture_output=True, text=True, timeout=_SCONTROL_SECONDS, check=True)
        except subprocess.CalledProcessError as error:
            answer = (error.stderr or error.stdout).strip()
            message = f"`{' '.join(command)}` failed: it ended with code {error.returncode} and said: {answer}"
            raise RuntimeError(message) from error
        except (OSError, subprocess.TimeoutExpired) as error:
            message = f"`{' '.join(command)}` failed: {error}"
            raise RuntimeError(message) from error


def _of_step_or_job(name: str) -> str | None:
    """Return a variable of the step if this is one: in a step smaller than its job, some of the job's are the job's."""
    return os.environ.get(f"SLURM_STEP_{name}", os.environ.get(f"SLURM_{name}"))


def _is_in_step() -> bool:
    """Say whether srun has started this process. The batch script itself has a SLURM_PROCID too, which is 0."""
    if "SLURM_STEP_ID" in os.environ:
        return True
    return "SLURM_PROCID" in os.environ and os.environ.get("ENVIRONMENT") != "BATCH"


def _warn_without_srun() -> None:
    if "SLURM_JOB_ID" not in os.environ or "SLURM_NTASKS" not in os.environ or _is_in_step():
        return
    if os.environ.get("SLURM_JOB_NAME") in _INTERACTIVE or shutil.which("srun") is None:
        return
    rank_zero_warn(
        "This process runs in a job of SLURM's, but `srun` hasn't started it, so it's alone, and signals that SLURM "
        "sends to the job's steps don't reach it. Write `srun` before the command: `srun python train.py`."
    )


def _refuse_tasks_not_started(num_tasks: int) -> None:
    if num_tasks == 1 or _is_in_step():
        return
    message = (
        f"The job of SLURM's has {num_tasks} tasks (SLURM_NTASKS), but 1 process was started, without `srun`; it would "
        "wait for the others. Write `srun` before the command, `srun python train.py`, or ask for one task: `#SBATCH "
        "--ntasks=1`."
    )
    raise ValueError(message)


def _tasks_per_node(num_tasks: int) -> int:
    """Return how many tasks each node has.

    ``SLURM_NTASKS_PER_NODE`` is what was asked for the whole job; a step may have fewer.
    """
    spread = _of_step_or_job("TASKS_PER_NODE")
    if spread is not None:
        return _even_count(spread)
    asked = os.environ.get("SLURM_NTASKS_PER_NODE")
    if asked is not None:
        return int(asked)
    if num_tasks > 1:
        message = (
            f"SLURM started {num_tasks} tasks, but says of neither SLURM_NTASKS_PER_NODE nor SLURM_TASKS_PER_NODE how "
            "many there are on each node. Ask for them by `#SBATCH --ntasks-per-node=N`, with `devices=N`."
        )
        raise RuntimeError(message)
    return 1


def _even_count(spread: str) -> int:
    """Return the one count in SLURM's "2(x3)"; "2(x3),1" has two."""
    counts = sorted({int(count) for count in re.sub(r"\(x\d+\)", "", spread).split(",")})
    if len(counts) > 1:
        found = " and ".join(str(count) for count in counts)
        message = (
            f"SLURM runs {found} task(s) per node, but each node must have as many as `devices`. Ask for them by "
            f"`#SBATCH --ntasks-per-node={counts[-1]}` instead of by `--ntasks`."
        )
        raise ValueError(message)
    return counts[0]


def _job_to_requeue() -> str:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    if array is not None and task is not None:
        return f"{array}_{task}"
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        message = "There's no job to put into the queue again: SLURM_JOB_ID isn't set."
        raise RuntimeError(message)
    return job
