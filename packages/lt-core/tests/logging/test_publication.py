from collections.abc import Callable
from typing import Any

import pytest
import torch
from thread_ranks import Job, Rank
from tiny_runs import Journal
from torch import nn

from lt_core.logging.publication import (
    MetricBoard,
    by_loader,
    flush_epoch,
    flush_steps,
    flush_steps_of_rank,
    reduced,
    send,
    to_loggers,
)
from lt_core.logging.recorder import Recorder, Results
from lt_core.logging.slots import LogOptions

Options = Callable[..., LogOptions]


class Rig:
    """One rank's recorder and board, as a run puts them together."""

    def __init__(self, options: Options, hook: str = "training_step", ranks: Any = None) -> None:
        self.options = options
        self.ranks = ranks or Rank(Job(1), 0)
        self.board = MetricBoard()
        self.results = Results(is_evaluation=hook != "training_step")
        self.recorder = Recorder()
        self.recorder.results, self.recorder.hook = self.results, hook
        self.journal = Journal()

    def log(self, name: str, value: Any, batch_size: int = 1, **changes: Any) -> None:
        options = self.options(**changes)
        self.recorder.log(nn.Module(), name, value=value, batch_size=batch_size, options=options)

    def flush_steps(self) -> dict[str, Any]:
        return dict(flush_steps(self.results, self.board, loggers=[self.journal], ranks=self.ranks))

    def flush_epoch(self) -> dict[str, Any]:
        return {name: value for name, (_, value) in flush_epoch(self.results, self.board, self.ranks).items()}

    def reduced(self, key: str) -> Any:
        return reduced(self.results, self.board, key=key, ranks=self.ranks)


def numbers(metrics: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}


def test_the_latest_step_value_is_visible_before_any_flush(options: Options) -> None:
    rig = Rig(options)
    for value in (1.0, 2.0):
        rig.log("loss", value, on_step=True, on_epoch=True)
    rig.board.take_current(rig.results, alone=True)
    assert numbers(rig.board.callback) == {"loss": 2.0, "loss_step": 2.0}
    assert numbers(rig.board.logged) == {"loss_step": 2.0}


def test_the_plain_name_becomes_the_epochs_value_when_it_ends(options: Options) -> None:
    rig = Rig(options)
    for value in (1.0, 2.0):
        rig.log("loss", value, on_step=True, on_epoch=True)
    assert rig.flush_epoch() == {"loss_epoch": 1.5}
    assert numbers(rig.board.callback) == {"loss": 1.5, "loss_step": 2.0, "loss_epoch": 1.5}
    assert numbers(rig.board.logged) == {"loss_step": 2.0, "loss_epoch": 1.5}


def test_hooks_at_the_epochs_end_see_the_epochs_value(options: Options) -> None:
    rig = Rig(options)
    for value in (1.0, 2.0):
        rig.log("loss", value, on_step=True, on_epoch=True)
    rig.results.epoch_ended = True
    rig.board.take_current(rig.results, alone=True)
    assert rig.board.callback["loss"].item() == 1.5


def test_evaluation_shows_callbacks_no_step_values(options: Options) -> None:
    rig = Rig(options, "validation_step")
    rig.log("vs", 1.0, on_step=True, on_epoch=True)
    assert rig.flush_steps() == {"vs_step": 1.0}
    rig.flush_epoch()
    assert numbers(rig.board.callback) == {"vs": 1.0, "vs_epoch": 1.0}
    assert numbers(rig.board.logged) == {"vs_step": 1.0, "vs_epoch": 1.0}


def test_callback_metrics_are_tensors_and_the_bars_are_numbers(options: Options) -> None:
    rig = Rig(options)
    rig.log("loss", torch.tensor(2.0), prog_bar=True, on_step=True, on_epoch=True)
    rig.flush_epoch()
    assert all(isinstance(value, torch.Tensor) for value in rig.board.callback.values())
    bar = rig.board.bar()
    assert bar == {"loss_step": 2.0, "loss_epoch": 2.0}
    assert all(type(value) is float for value in bar.values())


def test_loggers_get_only_what_is_theirs(options: Options) -> None:
    rig = Rig(options)
    rig.log("mine", 1.0, logger=False, prog_bar=True, on_step=True, on_epoch=True)
    rig.log("theirs", 2.0, on_step=True, on_epoch=True)
    assert rig.flush_steps() == {"theirs_step": 2.0}
    flushed = flush_epoch(rig.results, rig.board, rig.ranks)
    assert to_loggers(flushed) == {"theirs_epoch": 2.0}
    assert set(rig.board.logged) == {"theirs_step", "theirs_epoch"}
    assert set(rig.board.progress_bar) == {"mine_step", "mine_epoch"}


def test_a_step_value_is_sent_once(options: Options) -> None:
    rig = Rig(options)
    rig.log("sometimes", 1.0)
    rig.log("always", 1.0)
    assert set(rig.flush_steps()) == {"sometimes", "always"}
    rig.log("always", 2.0)
    assert rig.flush_steps() == {"always": 2.0}


def test_each_epoch_begins_anew(options: Options) -> None:
    rig = Rig(options)
    rig.log("loss", 1.0, on_step=False, on_epoch=True)
    rig.log("once", 1.0, on_step=False, on_epoch=True)
    rig.flush_epoch()
    rig.log("loss", 5.0, on_step=False, on_epoch=True)
    assert rig.flush_epoch() == {"loss": 5.0}


def test_each_loader_gets_its_own_values_and_those_of_no_loader(options: Options) -> None:
    rig = Rig(options, "validation_step")
    for idx, value in enumerate((1.0, 2.0)):
        rig.recorder.dataloader_idx = idx
        rig.log("vl", value)
        if idx == 0:
            rig.log("nodl", 7.0, add_dataloader_idx=False)
    rig.recorder.dataloader_idx, rig.recorder.hook = None, "on_validation_epoch_end"
    rig.log("all", 3.0)
    outputs = by_loader(flush_epoch(rig.results, rig.board, rig.ranks), 2)
    assert outputs == [
        {"vl/dataloader_idx_0": 1.0, "nodl": 7.0, "all": 3.0},
        {"vl/dataloader_idx_1": 2.0, "all": 3.0},
    ]


def test_nothing_is_sent_where_there_is_nothing() -> None:
    journal = Journal()
    send([journal], {}, 3)
    send([journal], {"x": 1.0}, 3)
    assert journal.sent == [(3, {"x": 1.0})]


def on_two_ranks(options: Options, work: Callable[[Rig, int], Any]) -> list[Any]:
    return Job(2).run(lambda rank: work(Rig(options, ranks=rank), rank.rank))


def test_step_and_epoch_values_are_those_of_all_ranks(options: Options) -> None:
    def work(rig: Rig, rank: int) -> Any:
        rig.log("loss", float(rank), on_step=True, on_epoch=True)
        steps = rig.flush_steps()
        return steps | rig.flush_epoch(), numbers(rig.board.callback)["loss"]

    for found, shown in on_two_ranks(options, work):
        assert found == {"loss_step": 0.5, "loss_epoch": 0.5}
        assert shown == 0.5


def test_epoch_means_are_weighted_by_every_ranks_batch_sizes(options: Options) -> None:
    def work(rig: Rig, rank: int) -> Any:
        rig.log("loss", float(rank), batch_size=1 + 2 * rank, on_step=False, on_epoch=True)
        return rig.flush_epoch()

    assert on_two_ranks(options, work) == [{"loss": 0.75}] * 2


def test_step_means_are_weighted_by_the_batch_not_by_the_epoch_so_far(options: Options) -> None:
    def work(rig: Rig, rank: int) -> Any:
        for batch_size in (1 if rank else 9, 4):
            rig.log("loss", float(rank), batch_size=batch_size, on_step=True, on_epoch=True)
        return rig.flush_steps()

    assert on_two_ranks(options, work) == [{"loss_step": 0.5}] * 2


def test_values_of_rank_zero_alone_stay_out_of_the_collective(options: Options) -> None:
    def work(rig: Rig, rank: int) -> Any:
        if rank == 0:
            rig.log("own", 3.0, rank_zero_only=True, on_step=True, on_epoch=True)
        return rig.flush_steps() | rig.flush_epoch()

    assert on_two_ranks(options, work) == [{"own_step": 3.0, "own_epoch": 3.0}, {}]


def test_a_decision_sees_the_value_of_all_ranks_before_a_flush(options: Options) -> None:
    def work(rig: Rig, rank: int) -> Any:
        rig.log("loss", float(rank), on_step=True, on_epoch=True)
        return rig.reduced("loss").item()

    assert on_two_ranks(options, work) == [0.5, 0.5]


def test_a_decision_sees_the_value_of_all_ranks_after_a_flush(options: Options) -> None:
    def work(rig: Rig, rank: int) -> Any:
        rig.log("loss", float(rank))
        rig.flush_steps()
        return rig.reduced("loss").item()

    assert on_two_ranks(options, work) == [0.5, 0.5]


def test_a_decision_on_a_value_of_rank_zero_alone_waits_for_nobody(options: Options) -> None:
    def work(rig: Rig, rank: int) -> Any:
        if rank == 0:
            rig.log("own", 3.0, rank_zero_only=True)
        value = rig.reduced("own")
        return None if value is None else value.item()

    assert on_two_ranks(options, work) == [3.0, None]


def test_asking_for_what_nobody_logged_gives_nothing(options: Options) -> None:
    assert on_two_ranks(options, lambda rig, rank: rig.reduced("loss")) == [None, None]


@pytest.mark.parametrize("num_loggers", [0, 1])
def test_one_process_without_loggers_waits_for_no_device(
    options: Options, monkeypatch: pytest.MonkeyPatch, num_loggers: int
) -> None:
    rig = Rig(options)
    rig.log("loss", torch.tensor(1.0))
    waits: list[int] = []
    monkeypatch.setattr("lt_core.logging.reduction.to_host", lambda values: waits.append(len(values)) or {"loss": 1.0})
    flush_steps(rig.results, rig.board, loggers=[rig.journal] * num_loggers, ranks=rig.ranks)
    assert len(waits) == num_loggers


def test_a_batch_of_an_evaluation_that_logged_no_step_takes_no_collective(options: Options) -> None:
    job = Job(2)

    def work(rank: Rank) -> None:
        rig = Rig(options, "validation_step", rank)
        rig.log("x", 1.0, on_step=True, on_epoch=True)
        for _ in range(3):
            rig.flush_steps()

    job.run(work)
    assert job.num_gathers == 1


@pytest.mark.parametrize(("own_only", "expected"), [(True, {"own": 2.0}), (False, {"own": 2.0, "x_step": 1.0})])
def test_step_values_of_a_batch_that_not_every_rank_has_are_not_reduced(
    options: Options, own_only: bool, expected: dict[str, float]
) -> None:
    job = Job(2)

    def work(rank: Rank) -> Any:
        rig = Rig(options, "validation_step", rank)
        rig.log("x", 1.0, on_step=True, on_epoch=True)
        rig.log("own", 2.0, on_step=True, on_epoch=False, rank_zero_only=True)
        sent = flush_steps_of_rank(rig.results, rig.board, own_only=own_only)
        return sent, flush_steps_of_rank(rig.results, rig.board, own_only=own_only)

    assert job.run(work) == [(expected, {})] * 2
    assert job.num_gathers == 0
