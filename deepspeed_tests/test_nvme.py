"""Parameters and the optimizer's state on NVMe train as in memory."""

from pathlib import Path

import nvme_ranks
import pytest
from deepspeed.ops.op_builder import AsyncIOBuilder

from lt_interfaces.testing import run_in_processes


@pytest.mark.skipif(not AsyncIOBuilder().is_compatible(), reason="needs libaio's headers (Debian: libaio-dev)")
def test_training_on_nvme_is_that_in_memory(tmp_path: Path) -> None:
    for in_memory, on_nvme, kept, told in run_in_processes(nvme_ranks.on_nvme, str(tmp_path), timeout_seconds=100):
        assert on_nvme == in_memory
        assert kept == {"optimizer", "float32params"}
        assert "offload_optimizer_device='cpu'" in told
