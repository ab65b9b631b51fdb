"""A job that loses a process under torchrun starts again by itself, and goes on exactly."""

from pathlib import Path

from jobs import TORCHRUN, run_job, trained

RESTARTING = (*TORCHRUN, "--max-restarts=1")


def test_after_a_kill_the_job_goes_on_from_its_last_checkpoint_with_the_same_data(tmp_path: Path) -> None:
    assert run_job(tmp_path / "undisturbed", "ddp_fork").returncode == 0
    ended = run_job(tmp_path / "killed", "ddp", "--kill-at", "9", "--ckpt-path", "last", before=RESTARTING)
    assert ended.returncode == 0, ended.stderr
    undisturbed, second = trained(tmp_path / "undisturbed"), trained(tmp_path / "killed", life=1)
    assert min(second) == 8  # checkpoints are saved every second step
    assert {step: undisturbed[step] for step in second} == second
    first = trained(tmp_path / "killed", life=0)
    assert {step: first[step] for step in range(9)} == {step: undisturbed[step] for step in range(9)}
