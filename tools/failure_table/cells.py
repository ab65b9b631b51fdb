"""One failure under one launcher: run, watched until its last process has ended, and judged."""

import itertools
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from failure_table.job import FAILING_STEP, TIMEOUT_SECONDS

JOB: Final = Path(__file__).parent / "job.py"
FAILURES: Final = ("exception", "sys.exit", "SIGKILL", "stuck")
LAUNCHERS: Final = {
    "script re-launch": ("popen", ()),
    "spawn": ("spawn", ()),
    "torchrun": ("popen", ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")),
}
ALLOWED_SECONDS: Final = 5
_POLL_SECONDS: Final = 0.05
_LONGEST_SECONDS: Final = 120
_JOB_VARIABLES: Final = {"LOCAL_RANK", "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK"}
# The agent of torchrun logs, and raises in the end; both come after what the job itself prints.
_TORCHRUNS_OWN: Final = re.compile(r"^([WEI]\d{4} |Traceback .*\n  File .*(torchrun|runpy))", re.MULTILINE)


@dataclass(frozen=True)
class Cell:
    """Which failure, on which rank, under which launcher."""

    failure: str
    launcher: str
    rank: int = 1

    @property
    def allowed_seconds(self) -> int:
        """From the failure to the end of the last process."""
        return ALLOWED_SECONDS + (TIMEOUT_SECONDS if self.failure == "stuck" else 0)

    def __str__(self) -> str:
        return f"{self.failure} · {self.launcher}"


@dataclass(frozen=True)
class Ending:
    """How the job of one cell ended."""

    cell: Cell
    seconds: float
    exit_code: int
    output: str
    hooks: frozenset[str]
    """"on_exception-0" and the like: hooks that were called, with the rank."""
    orphans: tuple[int, ...]

    @property
    def own_output(self) -> str:
        """The output without what torchrun's agent says after it."""
        lines = [line for line in self.output.splitlines() if not re.match(r"[WEI]\d{4} ", line)]
        text = "\n".join(lines)
        torchruns = _TORCHRUNS_OWN.search(text)
        return text[: torchruns.start()] if torchruns else text

    def last_lines(self, count: int) -> str:
        """Return the end of the job's own output."""
        return "\n".join(self.own_output.rstrip().splitlines()[-count:])

    def flaws(self, times: float = 1) -> list[str]:
        """Return what isn't as promised; the time may be so many times longer."""
        survivors = [0] if self.cell.failure == "SIGKILL" else [0, 1]
        expected = {f"{hook}-{rank}" for hook in ("on_exception", "teardown") for rank in survivors}
        missing = sorted(expected - self.hooks)
        found = {
            f"it took {self.seconds:.1f} s": self.seconds > times * self.cell.allowed_seconds,
            "its exit code is 0": self.exit_code == 0,
            f"hooks that didn't run: {missing}": bool(missing),
            f"processes that are left: {self.orphans}": bool(self.orphans),
            "the report isn't last": not re.search(self.expected_report, self.last_lines(1)),
            "the traceback isn't there once": self.own_output.count("in fail\n") != self._num_tracebacks,
        }
        return [flaw for flaw, is_there in found.items() if is_there]

    @property
    def _num_tracebacks(self) -> int:
        return int(self.cell.failure in ("exception", "sys.exit"))

    @property
    def expected_report(self) -> str:
        """What the last line is to match."""
        rank, step = self.cell.rank, FAILING_STEP
        if self.cell.failure == "SIGKILL":
            lost = f"rank 0 lost its connection to another rank, which probably died, at global step {step}"
            return lost if self.cell.launcher == "torchrun" else f"rank {rank} was killed by SIGKILL"
        if self.cell.failure == "stuck":
            return f"rank {1 - rank} failed at global step {step}"
        return f"rank {rank} failed at global step {step}"


def all_cells() -> list[Cell]:
    """Return every failure under every launcher."""
    return [Cell(failure, launcher) for failure, launcher in itertools.product(FAILURES, LAUNCHERS)]


def run_cell(cell: Cell, folder: Path) -> Ending:
    """Run the job of a cell in an empty folder until none of its processes is left."""
    start_method, before = LAUNCHERS[cell.launcher]
    command = [sys.executable, *before, str(JOB), str(folder), start_method, cell.failure, str(cell.rank)]
    inherited = {name: value for name, value in os.environ.items() if name not in _JOB_VARIABLES}
    with (folder / "output").open("w") as output:
        job = subprocess.Popen(
            command, env={**inherited, "OMP_NUM_THREADS": "1"}, stdout=output, stderr=output, start_new_session=True
        )
        exit_code = job.wait(timeout=_LONGEST_SECONDS)
    orphans = _running(folder)
    while _running(folder) and time.time() < _failed_at(folder) + _LONGEST_SECONDS:
        time.sleep(_POLL_SECONDS)
    return Ending(
        cell,
        seconds=time.time() - _failed_at(folder),
        exit_code=exit_code,
        output=(folder / "output").read_text(),
        hooks=frozenset(path.name for hook in ("on_exception", "teardown") for path in folder.glob(f"{hook}-*")),
        orphans=orphans,
    )


def _failed_at(folder: Path) -> float:
    noted = folder / "time"
    return float(noted.read_text()) if noted.exists() else 0.0


def _running(folder: Path) -> tuple[int, ...]:
    """Return the processes of the job that haven't ended."""
    noted = (int(path.name.removeprefix("process-")) for path in folder.glob("process-*"))
    return tuple(pid for pid in noted if _is_running(pid))


def _is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"
