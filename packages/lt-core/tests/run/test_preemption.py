"""Where the checkpoint of a run that is told to end goes, and how the next start finds it."""

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Keeper, Net, fit, rows, trainer_with
from torch import Tensor

from lt_core import Trainer
from lt_fabric.local_environment import LocalEnvironment
from lt_interfaces import Callback
from lt_interfaces.errors import SIGTERMException

SAVING = {"enable_checkpointing": True}


class Told(Callback):
    """Sends this process a signal after a step."""

    def __init__(self, signum: int = signal.SIGTERM, *, step: int = 2) -> None:
        self.signum = signum
        self.step = step

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.signum)


class Queue(LocalEnvironment):
    """A machine with a queue, which announces the end by SIGUSR2."""

    def __init__(self) -> None:
        super().__init__()
        self.queued = 0

    @property
    def requeue_signal(self) -> signal.Signals:
        return signal.SIGUSR2

    def requeue(self) -> None:
        self.queued += 1


def ended(root: Path, *callbacks: Any, **arguments: Any) -> Trainer:
    """Fit until the run is told to end."""
    trainer = trainer_with(root, *callbacks, **{**SAVING, "limit_val_batches": 0, **arguments})
    with pytest.raises(SIGTERMException):
        trainer.fit(Net(), rows(), rows(1))
    return trainer


def saved_in(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*.ckpt"))


def steps_in(path: Path) -> int:
    steps: int = torch.load(path, weights_only=True)["global_step"]
    return steps


def test_checkpoint_is_of_the_step_at_which_the_run_ended(tmp_path: Path) -> None:
    ended(tmp_path, Told(), Keeper())
    assert saved_in(tmp_path) == ["preempted.ckpt"]
    assert steps_in(tmp_path / "preempted.ckpt") == 2


def test_it_lies_beside_those_of_the_first_callback_that_has_a_folder(tmp_path: Path) -> None:
    keepers = [Keeper(), Keeper(dirpath=tmp_path / "first"), Keeper(dirpath=tmp_path / "second")]
    ended(tmp_path, Told(), *keepers)
    assert saved_in(tmp_path) == ["first/preempted.ckpt"]


def test_next_start_goes_on_from_it_by_last(tmp_path: Path) -> None:
    whole, rest, folder = Net(), Net(), tmp_path / "kept"
    fit(tmp_path / "whole", whole)
    ended(tmp_path, Told(), Keeper(dirpath=folder))
    trainer = fit(tmp_path, rest, Keeper(dirpath=folder), ckpt_path="last", **SAVING)
    assert trainer.global_step == 4
    assert torch.equal(whole.weights, rest.weights)


@pytest.mark.parametrize("off", [{"enable_checkpointing": False}, {"fast_dev_run": 3}, {"barebones": True}])
def test_nothing_is_written_where_saving_is_off(off: dict[str, Any], tmp_path: Path) -> None:
    arguments = {"enable_checkpointing": None, **off}
    if "barebones" in off:
        arguments |= dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "log_every_n_steps"))
    trainer = ended(tmp_path, Told(), **arguments)
    assert trainer.global_step == 2
    assert saved_in(tmp_path) == []


def test_job_that_is_queued_again_takes_the_next_number(tmp_path: Path) -> None:
    queue = Queue()
    for step in (1, 3):
        told = Told(signal.SIGUSR2, step=step)
        ended(tmp_path, told, Keeper(dirpath=tmp_path / "kept"), plugins=[queue])
    assert queue.queued == 2
    assert saved_in(tmp_path) == ["hpc_ckpt_1.ckpt", "hpc_ckpt_2.ckpt"]
    assert steps_in(tmp_path / "hpc_ckpt_2.ckpt") == 3


def test_numbers_are_compared_as_numbers_and_gaps_stay(tmp_path: Path) -> None:
    ended(tmp_path, Told(signal.SIGUSR2, step=1), plugins=[Queue()])
    for number in (9, 10):
        shutil.copy(tmp_path / "hpc_ckpt_1.ckpt", tmp_path / f"hpc_ckpt_{number}.ckpt")
    (tmp_path / "hpc_ckpt_40.ckpt.old").write_bytes(b"")
    ended(tmp_path, Told(signal.SIGUSR2), plugins=[Queue()])
    assert steps_in(tmp_path / "hpc_ckpt_11.ckpt") == 2


def test_files_that_only_end_like_numbered_ones_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "my_hpc_ckpt_7.ckpt").write_bytes(b"")
    ended(tmp_path, Told(signal.SIGUSR2), plugins=[Queue()], enable_checkpointing=None)
    assert "hpc_ckpt_1.ckpt" in saved_in(tmp_path)


def test_job_that_is_queued_again_saves_also_where_saving_is_off(tmp_path: Path) -> None:
    ended(tmp_path, Told(signal.SIGUSR2), plugins=[Queue()], enable_checkpointing=False)
    assert saved_in(tmp_path) == ["hpc_ckpt_1.ckpt"]


def test_job_that_was_queued_again_goes_on_by_itself(tmp_path: Path) -> None:
    class Counts(Net):
        seen = 0

        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            self.seen += 1
            return super().training_step(batch, batch_idx)

    ended(tmp_path, Told(signal.SIGUSR2), plugins=[Queue()], enable_checkpointing=False)
    module = Counts()
    trainer = fit(tmp_path, module, ckpt_path="hpc")
    assert (trainer.global_step, module.seen) == (4, 2)
