"""Python ends when gloo's threads have given their tensors back, and not before."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what threads do")

# Rank 0 alone is looked at; rank 1 lets it wait, so that its thread of gloo is the last to hold the tensor.
SCRIPT = """
import os, sys, threading, time
import torch
import torch.distributed as dist
from lt_strategies import process_group

folder, mode = sys.argv[1:]
going = threading.Event()

class SlowToGo:
    def __del__(self):
        going.set()
        end = time.monotonic() + (3 if mode == "impatient" else 0.5)
        while time.monotonic() < end:
            pass

child = os.fork()
dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=int(child == 0), world_size=2)
if child == 0:
    dist.all_reduce(torch.ones(4))
    time.sleep(0.3)
    dist.all_reduce(torch.ones(4))
    os._exit(0)
sys.held = dist.group.WORLD  # as a wrapped module does
dist.all_reduce(torch.ones(4))
tensor = torch.ones(4)
tensor.mark = SlowToGo()
dist.all_reduce(tensor, async_op=True)
del tensor
going.wait()
if mode == "impatient":
    began = time.monotonic()
    process_group.wait_until_idle(0.1)
    print(time.monotonic() - began)
"""


def end_of(folder: Path, mode: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", SCRIPT, str(folder), mode]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_process_ends_well_while_a_thread_still_gives_a_tensor_back(tmp_path: Path) -> None:
    ended = end_of(tmp_path, "plain")
    assert ended.returncode == 0, ended.stderr


def test_a_thread_that_is_long_busy_is_not_waited_for(tmp_path: Path) -> None:
    ended = end_of(tmp_path, "impatient")
    assert 0.1 <= float(ended.stdout) < 2, ended.stderr
