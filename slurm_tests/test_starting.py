"""What processes know of themselves under a real SLURM, and who counts as started by it."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from jobs import SCRIPT, trained
from queue_jobs import PATIENCE_SECONDS, TWO_NODES, QueueJob, allocated, ask, submitted, training

WHO = str(Path(__file__).parent / "who_am_i.py")


def known_by(*srun_options: str) -> list[dict[str, Any]]:
    lines = ask("srun", *srun_options, sys.executable, WHO, timeout_seconds=PATIENCE_SECONDS).splitlines()
    return sorted((json.loads(line) for line in lines), key=lambda known: int(known["global_rank"]))


def test_processes_on_two_nodes_know_their_places_and_agree_where_to_meet() -> None:
    first, second = known_by(*TWO_NODES)
    assert (first["global_rank"], second["global_rank"]) == (0, 1)
    assert (first["node_rank"], second["node_rank"]) == (0, 1)
    assert (first["local_rank"], second["local_rank"]) == (0, 0)
    assert (first["node"], second["node"]) == ("n1", "n2")
    for known in (first, second):
        assert known["detected"]
        assert known["world_size"] == 2
        assert known["main_address"] == "n1"
    assert first["main_port"] == second["main_port"]


def test_two_processes_on_each_node_are_counted_node_by_node() -> None:
    known = known_by("--nodes=2", "--ntasks-per-node=2")
    assert [(one["global_rank"], one["node_rank"], one["local_rank"]) for one in known] == [
        (0, 0, 0),
        (1, 0, 1),
        (2, 1, 0),
        (3, 1, 1),
    ]
    assert {one["world_size"] for one in known} == {4}


@pytest.mark.parametrize("shell", [(), ("bash", "-c")], ids=["python", "python in a shell"])
def test_a_script_started_by_hand_in_an_allocation_starts_its_processes_itself(
    tmp_path: Path, undisturbed: dict[int, tuple[list[int], float]], shell: tuple[str, ...]
) -> None:
    words = [sys.executable, str(SCRIPT), str(tmp_path), "ddp", "--devices=2"]
    allocated(*((*shell, " ".join(words)) if shell else words))
    assert trained(tmp_path) == undisturbed


@pytest.mark.parametrize(
    ("change", "refusal"),
    [(("--num-nodes=2", "--num-nodes=3"), "num_nodes=3"), (("srun ", ""), "Write `srun` before the command")],
    ids=["other nodes", "no srun"],
)
def test_a_script_that_fits_the_job_badly_is_refused_before_anybody_waits(
    tmp_path: Path, change: tuple[str, str], refusal: str
) -> None:
    with submitted(tmp_path, training(tmp_path).replace(*change), *TWO_NODES) as job:
        assert job.wait_for_end() == "FAILED"
        assert refusal in job.report()


def test_tasks_of_an_array_train_at_the_same_time_without_meeting(
    tmp_path: Path, undisturbed: dict[int, tuple[list[int], float]]
) -> None:
    # Rank 0 of both listens on this one machine: only ports keep them apart.
    script = training(f"{tmp_path}/$SLURM_ARRAY_TASK_ID", "--step-seconds=0.2")
    for task in ("1", "2"):
        (tmp_path / task).mkdir()
    with submitted(tmp_path, script, *TWO_NODES, "--array=1-2") as array:
        tasks = [QueueJob(f"{array.name}_{task}", tmp_path / task) for task in ("1", "2")]
        array.wait_until(lambda: [task.state for task in tasks] == ["RUNNING"] * 2, "two running tasks")
        for task in tasks:
            task.wait_for_steps(1)
        assert [task.state for task in tasks] == ["RUNNING"] * 2
        assert [task.wait_for_end() for task in tasks] == ["COMPLETED"] * 2, array.report()
    for task in tasks:
        assert trained(task.folder) == undisturbed
