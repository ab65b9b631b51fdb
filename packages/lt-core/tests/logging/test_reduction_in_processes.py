"""The reduction over ranks with torch's own collectives: two real processes, gloo."""

import multiprocessing
from pathlib import Path

import torch.multiprocessing
from gloo_ranks import reduce_in_process


def test_two_processes_agree_on_values_and_on_names_that_differ(tmp_path: Path) -> None:
    multiprocessing.set_forkserver_preload(["torch", "torch.distributed", "lt_core.logging.reduction"])
    torch.multiprocessing.start_processes(reduce_in_process, args=(str(tmp_path),), nprocs=2, start_method="forkserver")
    first, second = ((tmp_path / f"rank{rank}").read_text() for rank in range(2))
    assert first == second
    numbers, message = first.splitlines()
    assert numbers == str({"loss": 0.75, "samples": 21.0})
    assert "`loss` only on ranks [1]" in message
