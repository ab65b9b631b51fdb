"""Requests at step boundaries, in one process and in one of two ranks whose other rank is written down."""

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Batches, Net, fit, rows, trainer_with
from torch import Tensor

from lt_core import Trainer
from lt_core.loops.boundaries import agree_at_boundary, honour
from lt_core.run.fit_run import FitRun
from lt_core.run.requests import Requests, SaveRequest
from lt_fabric.single_device import SingleDeviceStrategy
from lt_interfaces import Callback, FlagExchange
from lt_interfaces.errors import SIGTERMException


class OtherRank(FlagExchange):
    """What a rank hears where the only other one raises known flags."""

    def __init__(self, *of_other: Sequence[bool]) -> None:
        self._of_other = deque(of_other)
        self._last: list[int] = []
        self.settled = 0

    def exchange(self, flags: Sequence[bool]) -> Sequence[int]:
        before = self._last or [0] * len(flags)
        other = self._of_other.popleft() if self._of_other else [False] * len(flags)
        self._last = [own + its for own, its in zip(flags, other, strict=True)]
        return before

    def settle(self) -> Sequence[int]:
        self.settled += 1
        return self._last


class OneOfTwo(SingleDeviceStrategy):
    """A rank that reads and writes as if it were alone, but agrees with another one."""

    world_size = property(lambda self: 2)  # type: ignore[assignment]  # a property there, too

    def all_gather(self, tensor: Tensor, *, group: Any = None, sync_grads: bool = False) -> Tensor:
        return torch.stack([tensor, tensor])  # the other rank asks for the same


class Acts(Callback):
    """Does something after a step."""

    def __init__(self, step: int, action: Any) -> None:
        self.step = step
        self.action = action

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        if trainer.global_step == self.step:
            self.action(trainer)


def saved_steps(folder: Path) -> dict[str, int]:
    return {path.stem: torch.load(path, weights_only=True)["global_step"] for path in sorted(folder.glob("*.ckpt"))}


# --- one process ---


def test_checkpoints_are_written_at_the_boundary_where_they_are_asked_for(tmp_path: Path) -> None:
    def ask(trainer: Any) -> None:
        trainer.request_save(tmp_path / "a.ckpt")
        trainer.request_save(tmp_path / "b.ckpt")

    fit(tmp_path, Net(), Acts(2, ask))
    assert saved_steps(tmp_path) == {"a": 2, "b": 2}


def test_a_stop_is_honoured_at_the_boundary_where_it_is_asked_for(tmp_path: Path) -> None:
    trainer = fit(tmp_path, Net(), Acts(2, lambda trainer: trainer.request_stop("enough")))
    assert trainer.global_step == 2


def test_a_stop_waits_for_the_end_of_a_window_and_a_checkpoint_does_not(tmp_path: Path) -> None:
    class InWindow(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 0:
                trainer.request_save(tmp_path / "x.ckpt")
                trainer.request_stop("enough")

    trainer = fit(tmp_path, Net(), InWindow(), data=rows(6), accumulate_grad_batches=3)
    assert trainer.global_step == 1
    assert saved_steps(tmp_path) == {"x": 0}


def test_a_stop_waits_for_the_minimum_and_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    trainer = fit(tmp_path, Net(), Acts(1, lambda trainer: trainer.request_stop("enough")), min_steps=3, min_epochs=0)
    assert trainer.global_step == 3
    assert sum("`min_steps=3` isn't reached" in one.getMessage() for one in caplog.records) == 1


def test_nothing_asked_for_stops_nothing(tmp_path: Path) -> None:
    run = fit(tmp_path, Net())._fit_run
    assert run is not None
    assert not honour(run)


# --- one of two ranks ---


def shared_run(root: Path, *of_other: Sequence[bool]) -> tuple[Trainer, FitRun, OtherRank]:
    """Return a run of one of two ranks, between two boundaries."""
    trainer = trainer_with(root, limit_val_batches=0, strategy=OneOfTwo("cpu"), use_distributed_sampler=False)
    trainer.fit(Net(), rows())
    run, exchange = trainer._fit_run, OtherRank(*of_other)
    assert run is not None
    run.requests = Requests(is_shared=True)
    assert run.requests.agreement is not None
    run.requests.agreement.exchange = exchange
    return trainer, run, exchange


NOTHING = [False] * 5
TOLD, REQUEUE, STOP, SAVE, LOGS = ([place == number for place in range(5)] for number in range(5))


def boundary(run: FitRun) -> bool:
    """Pass a boundary as the loop does; says whether to stop."""
    agree_at_boundary(run)
    return run.requests.is_pending and honour(run)


def test_own_stop_counts_one_boundary_later(tmp_path: Path) -> None:
    _, run, _ = shared_run(tmp_path)
    run.requests.request_stop("enough")
    assert [boundary(run), boundary(run)] == [False, True]


def test_stop_of_the_other_rank_counts_one_boundary_later(tmp_path: Path) -> None:
    _, run, exchange = shared_run(tmp_path, STOP)
    assert [boundary(run), boundary(run)] == [False, True]
    assert exchange.settled == 0, "who asked for nothing waits for nobody"


def test_stop_of_all_ranks_counts_at_once(tmp_path: Path) -> None:
    _, run, _ = shared_run(tmp_path, STOP)
    run.requests.request_stop("enough")
    assert boundary(run)


def test_checkpoint_of_one_rank_is_written_one_boundary_later(tmp_path: Path) -> None:
    _, run, _ = shared_run(tmp_path)
    run.requests.request_save(SaveRequest(tmp_path / "x.ckpt"))
    boundary(run)
    assert saved_steps(tmp_path) == {}
    boundary(run)
    assert saved_steps(tmp_path) == {"x": 4}
    assert not run.requests.has_saves


def test_a_further_checkpoint_waits_for_the_other_rank_again(tmp_path: Path) -> None:
    _, run, _ = shared_run(tmp_path)
    run.requests.request_save(SaveRequest(tmp_path / "first.ckpt"))
    for _ in range(3):
        boundary(run)  # the last one hears what was still raised when the checkpoint was written
    run.requests.request_save(SaveRequest(tmp_path / "second.ckpt"))
    boundary(run)
    assert saved_steps(tmp_path) == {"first": 4}
    boundary(run)
    assert saved_steps(tmp_path) == {"first": 4, "second": 4}


def test_checkpoint_that_all_ranks_ask_for_is_written_at_once_and_once(tmp_path: Path) -> None:
    _, run, _ = shared_run(tmp_path, SAVE)
    written: list[str] = []
    object.__setattr__(run.job, "save", lambda path, weights_only, options: written.append(str(path)))
    run.requests.request_save(SaveRequest("x.ckpt"))
    boundary(run)
    boundary(run)
    assert written == ["x.ckpt"]


def test_signal_of_the_other_rank_ends_this_one_a_boundary_later(tmp_path: Path) -> None:
    _, run, _ = shared_run(tmp_path, TOLD)
    assert not boundary(run)
    with pytest.raises(SIGTERMException):
        boundary(run)
    assert run.job.signals.received_sigterm
    assert run.job.signals.is_agreed


def test_own_signal_alone_ends_nothing_at_its_boundary(tmp_path: Path) -> None:
    _, run, _ = shared_run(tmp_path)
    run.job.signals.received_sigterm = run.requests.is_pending = True
    assert not boundary(run)
    with pytest.raises(SIGTERMException):
        boundary(run)


def test_ranks_whose_exchange_leaves_a_boundary_out_agree_on_nothing_there(tmp_path: Path) -> None:
    class LeavesOut(OtherRank):
        def exchange(self, flags: Sequence[bool]) -> Any:
            return None

    _, run, _ = shared_run(tmp_path)
    assert run.requests.agreement is not None
    run.requests.agreement.exchange = LeavesOut()
    run.requests.request_stop("enough")
    assert not boundary(run)


def test_missing_batch_is_refused_where_other_ranks_wait_for_its_gradients(tmp_path: Path) -> None:
    trainer = trainer_with(tmp_path, limit_val_batches=0, strategy=OneOfTwo("cpu"), use_distributed_sampler=False)
    with pytest.raises(RuntimeError, match=r"gave None as batch 1, but the other ranks wait.*Give every rank a batch"):
        trainer.fit(Net(), Batches([torch.ones(2, 3), None, torch.ones(2, 3)]))  # type: ignore[list-item]


def test_step_values_of_the_other_rank_are_compared_from_the_next_boundary_on_without_stopping(tmp_path: Path) -> None:
    _, run, _ = shared_run(tmp_path, LOGS)
    agreement = run.requests.agreement
    assert agreement is not None
    agreement.covers_step_values = False
    boundary(run)
    assert not agreement.covers_step_values
    boundary(run)
    assert agreement.covers_step_values
    assert not run.requests.is_pending
