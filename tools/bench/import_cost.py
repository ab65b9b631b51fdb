"""How long imports through Lightning's names take, beside the same names of lt: `python tools/bench/import_cost.py`.

Each round starts both programs in new processes, one after the other; what counts is the ratio of a round.
"""

import argparse
import subprocess
import sys
import time
from statistics import median

OURS = "import lt; lt.Trainer, lt.LightningModule, lt.Fabric, lt.callbacks.EarlyStopping, lt.loggers.CSVLogger"
THEIRS = (
    "import lt_compat; import lightning as L; from lightning.pytorch.callbacks import EarlyStopping; "
    "from lightning.pytorch.loggers import CSVLogger; L.Trainer, L.LightningModule, L.Fabric"
)


def seconds(program: str) -> float:
    """Run a program in a new Python and return how long that took."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
    return time.perf_counter() - began


def main() -> int:
    """Measure and print the medians, and the median of the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    seconds(OURS), seconds(THEIRS)  # files come from the disk cache from now on
    pairs = [(seconds(OURS), seconds(THEIRS)) for _ in range(rounds)]
    ratio = median(theirs / ours for ours, theirs in pairs)
    ours, theirs = (median(column) for column in zip(*pairs, strict=True))
    print(
        f"lt: {ours * 1e3:.0f} ms; Lightning's names: {theirs * 1e3:.0f} ms; median ratio {ratio:.3f} ({rounds} rounds)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
