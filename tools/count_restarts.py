"""Lets jobs of two ranks lose one under torchrun again and again, and counts those that went on as if nothing had been.

    python tools/count_restarts.py                            # 20 jobs
    python tools/count_restarts.py --write docs/failures.md

Each job saves every second step, loses rank 1 to SIGKILL in its tenth, and is started again by torchrun. It went on
exactly if every step from the checkpoint on had the samples and the loss of the undisturbed run, to the bit. Ends with
1 if any didn't.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parent.parent / "integration_tests"))

from jobs import TORCHRUN, run_job, trained  # type: ignore[import-not-found]  # beside the tests

BEGIN: Final = "<!-- restarts: begin -->"
END: Final = "<!-- restarts: end -->"
KILLED_AT: Final = 9
STEPS: Final = 20
PROMISED: Final = range(KILLED_AT - 1, STEPS)
"""The steps of the second life, which starts from the checkpoint before."""


def main() -> int:
    """Run the jobs and print how many went on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--write", type=Path, help="a page whose count is to be replaced")
    options = parser.parse_args()
    seconds: list[float] = []
    exact = 0
    with tempfile.TemporaryDirectory() as folder:
        run_job(Path(folder, "undisturbed"), "ddp_fork").check_returncode()
        undisturbed = trained(Path(folder, "undisturbed"))
        for number in range(options.times):
            began = time.monotonic()
            flaw = flaw_of(Path(folder, str(number)), undisturbed)
            seconds.append(time.monotonic() - began)
            exact += not flaw
            print(f"{number + 1}: {flaw or 'went on exactly'} ({seconds[-1]:.1f} s)", flush=True)
    text = (
        f"{exact} of {options.times} jobs that lost a rank to SIGKILL were started again by torchrun and went on"
        f' exactly from their last checkpoint (`ckpt_path="last"`); both lives took {statistics.median(seconds):.0f} s'
        " together."
    )
    print(text)
    if options.write is not None:
        before, rest = options.write.read_text().split(BEGIN)
        options.write.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")
    return int(exact != options.times)


def flaw_of(folder: Path, undisturbed: dict[int, tuple[list[int], float]]) -> str:
    """Run one job; returns what was wrong with it, if anything."""
    restarting = (*TORCHRUN, "--max-restarts=1")
    ended = run_job(folder, "ddp", "--kill-at", str(KILLED_AT), "--ckpt-path", "last", before=restarting)
    if ended.returncode:
        return f"exit code {ended.returncode}\n{ended.stderr}"
    second = trained(folder, life=1)
    if list(second) != list(PROMISED):
        return f"went on with the steps {list(second)}"
    differing = [step for step in second if second[step] != undisturbed[step]]
    return f"other samples or losses in the steps {differing}" if differing else ""


if __name__ == "__main__":
    sys.exit(main())
