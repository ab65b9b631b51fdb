"""Runs a command beside a throw-away SLURM of two nodes on this machine, and stops it afterwards.

    python tools/slurm_cluster.py run -- pytest slurm_tests
    python tools/slurm_cluster.py run -- bash              # for trying things by hand: sinfo, srun, sbatch, ...

Everything it writes is in one temporary folder, which SLURM_CONF in the command's environment points into. Where SLURM
is missing, root gets Debian's packages installed; where that can't be, the command is skipped, which counts as success.
"""

import argparse
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

PACKAGES: Final = ("slurm-wlm", "munge")
PROGRAMS: Final = ("munged", "slurmctld", "slurmd", "sbatch")
NODES: Final = ("n1", "n2")
CONFIGURATION: Final = """\
ClusterName=throwaway
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdSpoolDir={folder}/spool.%n
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmdLogFile={folder}/slurmd.%n.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
ReturnToService=2
JobRequeue=1
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first_port}-{last_port}] CPUs=2 State=UNKNOWN
PartitionName=p Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
"""


class Unavailable(Exception):
    """There can be no SLURM on this machine, for the reason that the message names."""


def main() -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    subcommands = parser.add_subparsers(required=True)
    subcommands.add_parser("run", help="run a command beside the cluster").add_argument("command", nargs="+")
    command: list[str] = parser.parse_args().command
    try:
        require_programs()
    except Unavailable as reason:
        print(f"skipped: {reason}")
        return 0
    with cluster() as configuration:
        return run(command, os.environ | {"SLURM_CONF": str(configuration)})


def run(command: Sequence[str], environment: dict[str, str]) -> int:
    """Return a command's exit code; ask it to end when this process is told to."""
    with subprocess.Popen(command, env=environment) as started:
        try:
            return started.wait()
        finally:
            started.terminate()


def require_programs() -> None:
    """Install SLURM's packages where they're missing.

    Raises:
        Unavailable: they can't be installed here.
    """
    # Daemons are kept where ordinary users don't look for programs.
    os.environ["PATH"] = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    if not missing_programs():
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        message = (
            f"{', '.join(missing_programs())} not found. Root can have it installed on Debian and its like, by "
            f"`apt-get install {' '.join(PACKAGES)}`."
        )
        raise Unavailable(message)
    for step in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *PACKAGES]):
        done = _apt_get(["apt-get", *step])
        if done.returncode != 0:
            message = f"`{' '.join(done.args)}` failed: {done.stderr.strip()}"
            raise Unavailable(message)


def missing_programs() -> list[str]:
    """Return which of SLURM's programs aren't there."""
    return [program for program in PROGRAMS if shutil.which(program) is None]


@contextmanager
def cluster() -> Iterator[Path]:
    """Start a cluster whose two nodes are idle, and stop it, with all its jobs, at the end of the context.

    Yields:
        the path for SLURM_CONF.

    Raises:
        RuntimeError: it doesn't start; the message ends with its logs.
    """
    folder = Path(mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)  # munge wants a folder that everybody may enter
    configuration = write_configuration(folder)
    asking = os.environ | {"SLURM_CONF": str(configuration)}
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.enter_context(_daemon(_munged(folder), folder, asking))
        _wait(folder, "munge", (folder / "munge.socket").exists)
        stack.enter_context(_daemon(["slurmctld", "-D"], folder, asking))
        for node in NODES:
            stack.enter_context(_daemon(["slurmd", "-D", "-N", node], folder, asking))
        stack.callback(_end_jobs, asking)
        _wait(folder, "two idle nodes", lambda: _ask(["sinfo", "-hNo", "%t"], asking).split() == ["idle", "idle"])
        yield configuration


def write_configuration(folder: Path) -> Path:
    """Write the key and the slurm.conf of a cluster that lives in the folder, and return the path of the latter."""
    first_port = _free_ports(1 + len(NODES))
    for name in ("state", *(f"spool.{node}" for node in NODES)):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.touch(0o400)
    key.chmod(0o600)
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    text = CONFIGURATION.format(
        host=socket.gethostname().partition(".")[0],
        user=_user(),
        folder=folder,
        controller_port=first_port,
        first_port=first_port + 1,
        last_port=first_port + len(NODES),
    )
    configuration = folder / "slurm.conf"
    configuration.write_text(text)
    return configuration


def _user() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


def _apt_get(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(list(command), 1, "", str(error))


def _munged(folder: Path) -> list[str]:
    options = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munged.pid", "seed-file": "munged.seed"}
    return ["munged", "--foreground", *(f"--{option}={folder / name}" for option, name in options.items())]


def _free_ports(count: int) -> int:
    """Return the first of several free ports in a row, below those that the system gives to anybody who asks."""
    firsts = iter(lambda: random.randrange(17_000, 27_000), None)
    return next(first for first in firsts if all(_is_free(port) for port in range(first, first + count)))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@contextmanager
def _daemon(command: Sequence[str], folder: Path, environment: dict[str, str]) -> Iterator[None]:
    output = (folder / f"{'-'.join(Path(part).name for part in (command[0], command[-1]))}.out").open("wb")
    # A session of its own: Ctrl-C is for the command, whose jobs are then ended in order.
    daemon = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        yield
    finally:
        daemon.terminate()
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
        output.close()


def _end_jobs(environment: dict[str, str]) -> None:
    """Kill all jobs and wait for their processes, which outlive the daemons."""
    mine = f"--user={_user()}"
    _ask(["scancel", mine], environment)
    _ask(["scancel", "--signal=KILL", "--full", mine], environment)
    if not _becomes_true(lambda: not _ask(["squeue", "-h"], environment).strip(), timeout_seconds=60):
        print("warning: jobs of the throw-away cluster didn't end:", _ask(["squeue"], environment), file=sys.stderr)


def _ask(command: Sequence[str], environment: dict[str, str]) -> str:
    try:
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL
        ).stdout
    except subprocess.TimeoutExpired:
        return "no answer"


def _wait(folder: Path, what: str, is_there: Callable[[], bool]) -> None:
    if _becomes_true(is_there, timeout_seconds=60):
        return
    logs = [file for pattern in ("*.log", "*.out") for file in sorted(folder.glob(pattern))]
    told = "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in logs)
    message = f"The cluster doesn't start: no {what} after 60 s.\n{told}"
    raise RuntimeError(message)


def _becomes_true(is_true: Callable[[], bool], *, timeout_seconds: float) -> bool:
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        if is_true():
            return True
        time.sleep(0.2)
    return False


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # stop the cluster then, too
    sys.exit(main())
