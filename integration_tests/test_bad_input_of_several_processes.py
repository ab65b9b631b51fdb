"""Mistakes in the set-up of several processes: each is refused with both sides named, and the way out."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from bad_input_ranks import new_trainer, train

from lt_core import Trainer
from lt_fabric import CPUAccelerator, Fabric
from lt_interfaces import Precision
from lt_interfaces.testing.ranks import run_in_processes
from lt_strategies import DDPStrategy

SCRIPT = Path(__file__).parent / "bad_job.py"
ELASTIC = {
    "TORCHELASTIC_RUN_ID": "1",
    "RANK": "0",
    "LOCAL_RANK": "0",
    "GROUP_RANK": "0",
    "WORLD_SIZE": "2",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}
SLURM = {
    "SLURM_JOB_ID": "1",
    "SLURM_JOB_NAME": "train",
    "SLURM_NTASKS": "4",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_NNODES": "2",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
    "SLURM_NODELIST": "node[1-2]",
    "SLURM_JOB_NODELIST": "node[1-2]",
}


def refusal(make: Callable[[], Any]) -> str:
    """Return what it is refused with, before anything is launched."""
    with pytest.raises((ValueError, TypeError)) as caught:
        make()
    return str(caught.value)


def test_more_devices_than_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for make in (Trainer, Fabric):
        message = refusal(partial(make, accelerator="cuda", devices=3, strategy="ddp"))
        assert "`devices=3`" in message
        assert "2" in message.replace("`devices=3`", ""), message


@pytest.mark.parametrize(
    ("variables", "arguments", "both_sides"),
    [
        (ELASTIC, {"num_nodes": 2}, ("`num_nodes=2`", "2 were started", "--nnodes")),
        (ELASTIC, {"devices": 3}, ("`devices` (3", "2 were started", "--nproc-per-node")),
        (SLURM, {"num_nodes": 3}, ("`num_nodes=3`", "2 node", "#SBATCH --nodes=3")),
        (SLURM, {"num_nodes": 2, "devices": 3}, ("`devices` (3", "2 task", "--ntasks-per-node=3")),
    ],
    ids=["torchrun, nodes", "torchrun, devices", "SLURM, nodes", "SLURM, devices"],
)
def test_settings_that_differ_from_what_was_started(
    variables: Mapping[str, str],
    arguments: Mapping[str, int],
    both_sides: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    message = refusal(lambda: new_trainer(**arguments))
    assert all(side in message for side in both_sides), message


def test_strategies_by_wrong_names() -> None:
    assert "Did you mean `ddp`?" in refusal(lambda: Trainer(strategy="dpp"))
    assert "Did you mean `fsdp`?" in refusal(lambda: Trainer(strategy="fsdb"))
    assert "Did you mean `find_unused_parameters`?" in refusal(lambda: DDPStrategy(find_unused_parameter=True))


class Untrainable(DDPStrategy):
    """Works with neither this accelerator nor this precision, as said."""

    def __init__(self, refused: type) -> None:
        super().__init__()
        self.refused = refused

    def supports(self, part: Any) -> bool:
        return not isinstance(part, self.refused) and super().supports(part)


def test_parts_that_dont_work_together() -> None:
    several = refusal(lambda: new_trainer(strategy="single_device"))
    assert "`devices=2`" in several
    assert "SingleDeviceStrategy runs in one" in several
    assert "'ddp'" in several
    assert "`accelerator='cpu'`" in refusal(lambda: new_trainer(strategy=Untrainable(CPUAccelerator)))
    assert "`precision='32-true'`" in refusal(lambda: new_trainer(strategy=Untrainable(Precision)))
    synced = refusal(lambda: new_trainer(sync_batchnorm=True))
    assert "`sync_batchnorm=True`" in synced
    assert "`accelerator='cpu'`" in synced


def test_ddp_in_an_interactive_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    assert "`strategy='ddp_notebook'`" in refusal(new_trainer)
    assert new_trainer(strategy="ddp_notebook").world_size == 2


def run_script(strategy: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), strategy],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_script_without_main_guard_is_refused_where_processes_import_it() -> None:
    ended = run_script("ddp_spawn")
    assert ended.returncode != 0
    assert 'if __name__ == "__main__":' in ended.stderr
    assert '`strategy="ddp"`' in ended.stderr
    assert ended.stderr.count("Traceback (most recent call last)") <= 2, ended.stderr


def test_a_port_that_another_program_has() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ended = run_script("ddp", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    assert ended.returncode != 0
    assert f"Port {port} on 127.0.0.1" in ended.stderr
    assert "`MASTER_PORT`" in ended.stderr


def test_a_rank_that_logs_another_key() -> None:
    for message in run_in_processes(train, "other key"):
        assert "other key" in message
        assert "rank" in message


def test_a_rank_without_a_loss_ends_all_of_them() -> None:
    first, second = run_in_processes(train, "no loss")
    assert second.startswith("RuntimeError: `training_step` returned None")
    assert "Return a loss of zero" in second
    assert first.startswith("PeerFailure: rank 1 failed at global step 1")
    assert "`training_step` returned None" in first


def test_ranks_train_where_nothing_is_wrong() -> None:
    assert run_in_processes(train, "loss") == ["trained", "trained"]
