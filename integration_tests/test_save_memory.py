"""A save streams the state to the disk: it needs next to no memory of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "tools" / "bench" / "save_memory.py"
MEGABYTES = 200
MOST_SHARE = 0.05


@pytest.mark.skipif(sys.platform != "linux", reason="reads the kernel's mark of peak memory")
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@pytest.mark.parametrize("variant", ["lt, LocalCheckpointIO", "lt, TorchCheckpointIO"])
def test_a_save_adds_at_most_a_twentieth_of_the_state_to_memory(variant: str, optimizer: str) -> None:
    command = [sys.executable, str(BENCH), "--only", variant, "--optimizer", optimizer, "--megabytes", str(MEGABYTES)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = json.loads(output.splitlines()[-1])
    assert found["size"] == pytest.approx(MEGABYTES, rel=0.01)
    assert found["extra"] <= MOST_SHARE * found["size"]
