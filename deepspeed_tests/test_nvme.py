"""Parameters and the optimizer's state on NVMe train as in memory."""

from pathlib import Path

import nvme_ranks
import pytest
import torch
from deepspeed.ops.op_builder import AsyncIOBuilder

from lt_interfaces.testing import run_in_processes


@pytest.mark.skipif(not AsyncIOBuilder().is_compatible(), reason="needs libaio's headers (Debian: libaio-dev)")
def test_training_on_nvme_is_that_in_memory(tmp_path: Path) -> None:
    for found in run_in_processes(nvme_ranks.on_nvme, str(tmp_path), timeout_seconds=100):
        in_memory, on_nvme = found["steps"]
        assert on_nvme == in_memory
        assert found["files"] == {"optimizer", "float32params"}
        (weights, optimizer), (weights_on_nvme, optimizer_on_nvme) = found["states"]
        torch.testing.assert_close(weights_on_nvme, weights, rtol=0, atol=0)
        # rank 0 alone has the optimizer's
        torch.testing.assert_close(optimizer_on_nvme.get("state", {}), optimizer.get("state", {}), rtol=0, atol=0)
        assert "offload_optimizer_device='cpu'" in found["told"]
