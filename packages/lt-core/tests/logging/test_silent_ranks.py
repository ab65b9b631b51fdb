"""Evaluation on ranks of which some had no batch: they take part in the flush with what the others logged."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from thread_ranks import Job, Rank
from torch import Tensor, nn

from lt_core.logging.publication import MetricBoard, by_loader, flush_epoch, flush_steps, reduced
from lt_core.logging.recorder import Recorder, Results
from lt_core.logging.silent_ranks import slots_of_all_ranks
from lt_core.logging.slots import LogOptions

Options = Callable[..., LogOptions]


class Mean:
    """A metric object that computes on its own rank; counts how often it's asked."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self.num_computed = 0

    def update(self, value: float) -> None:
        self.values.append(value)

    def compute(self) -> Tensor:
        self.num_computed += 1
        return torch.tensor(self.values).mean()

    def reset(self) -> None:
        self.values.clear()


class Evaluation:
    """One rank's evaluation, as a run puts it together."""

    def __init__(self, options: Options, rank: Rank, module: nn.Module | None = None) -> None:
        self.options, self.rank, self.module = options, rank, module or nn.Module()
        self.board = MetricBoard()
        self.results = Results(is_evaluation=True, module=self.module)
        self.recorder = Recorder()
        self.recorder.results = self.results

    def log(self, name: str, value: Any, batch_size: int = 1, hook: str = "validation_step", **changes: Any) -> None:
        self.recorder.hook = hook
        options = self.options(**changes)
        self.recorder.log(self.module, name, value=value, batch_size=batch_size, options=options)

    def batch(self, loader_idx: int = 0, *, several: bool = False) -> None:
        """Begin a batch."""
        self.results.seen.add(loader_idx)
        self.recorder.dataloader_idx = loader_idx if several else None

    def end(self) -> None:
        self.recorder.dataloader_idx = None
        self.results.epoch_ended = True

    def flush(self) -> dict[str, float]:
        self.flushed = flush_epoch(self.results, self.board, self.rank)
        return {name: float(value) for name, (_, value) in self.flushed.items()}

    def shown(self) -> dict[str, float]:
        return {name: float(value) for name, value in self.board.callback.items()}


def on_ranks(options: Options, world: int, work: Callable[[Evaluation, int], Any], job: Job | None = None) -> list[Any]:
    job = job or Job(world)
    return job.run(lambda rank: work(Evaluation(options, rank), rank.rank))


SAMPLES: list[Sequence[float]] = [(1.0, 2.0), (4.0,), ()]


@pytest.mark.parametrize(("reduction", "expected"), [("mean", 7 / 3), ("sum", 7.0), ("min", 1.0), ("max", 4.0)])
def test_a_rank_without_batches_has_no_say_and_sees_the_same(options: Options, reduction: str, expected: float) -> None:
    def work(run: Evaluation, rank: int) -> Any:
        found = []
        for _ in range(2):  # the second epoch begins with slots that are there already
            for sample in SAMPLES[rank]:
                run.batch()
                run.log("x", sample, reduce_fx=reduction)
            run.end()
            found.append((run.flush(), run.shown(), by_loader(run.flushed, 1)))
        return found

    values = {"x": pytest.approx(expected)}
    assert on_ranks(options, 3, work) == [[(values, values, [values])] * 2] * 3


def test_ranks_with_the_same_names_need_one_collective(options: Options) -> None:
    job = Job(2)

    def work(run: Evaluation, rank: int) -> None:
        run.batch()
        run.log("x", 1.0)
        run.log("y", 1.0)
        run.end()
        run.flush()

    on_ranks(options, 2, work, job)
    assert job.num_gathers == 1


def test_each_rank_may_lack_another_loader(options: Options) -> None:
    def work(run: Evaluation, rank: int) -> Any:
        for loader in range(3):
            if loader != rank:
                run.batch(loader, several=True)
                run.log("x", float(10 * loader + rank))
                run.log("all", 1.0, add_dataloader_idx=False, reduce_fx="sum")
        run.end()
        run.log("end", 5.0, hook="on_validation_epoch_end")
        run.flush()
        return by_loader(run.flushed, 3)

    found = on_ranks(options, 3, work)
    for outputs in found:
        assert outputs == [
            {"x/dataloader_idx_0": 1.5, "all": 6.0, "end": 5.0},
            {"x/dataloader_idx_1": 11.0, "all": 6.0, "end": 5.0},
            {"x/dataloader_idx_2": 20.5, "all": 6.0, "end": 5.0},
        ]


def test_a_rank_that_had_batches_must_log_what_the_others_log(options: Options) -> None:
    def work(run: Evaluation, rank: int) -> None:
        if rank < 2:
            run.batch()
            run.log("x", 1.0)
        if rank == 1:
            run.log("mine", 1.0)
        run.end()
        with pytest.raises(RuntimeError, match=r"`mine` only on ranks \[1, 2\]"):
            run.flush()

    on_ranks(options, 3, work)


def test_a_hook_that_runs_on_every_rank_must_log_on_every_rank(options: Options) -> None:
    def work(run: Evaluation, rank: int) -> None:
        run.end()
        if rank == 0:
            run.log("x", 1.0, hook="on_validation_epoch_end")
        with pytest.raises(RuntimeError, match=r"`x` only on ranks \[0\]"):
            run.flush()

    on_ranks(options, 2, work)


def test_a_loader_of_which_a_rank_had_a_batch_excuses_nothing(options: Options) -> None:
    def work(run: Evaluation, rank: int) -> None:
        for loader in range(2):
            run.batch(loader, several=True)
            if rank == loader == 1:
                run.log("x", 1.0)
        run.end()
        with pytest.raises(RuntimeError, match=r"`x/dataloader_idx_1` only on ranks \[1\]"):
            run.flush()

    on_ranks(options, 2, work)


class WithMetric(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.means = {"a": Mean()}


def with_metric(options: Options, work: Callable[[Evaluation, int, Mean], Any]) -> list[Any]:
    def start(rank: Rank) -> Any:
        module = WithMetric()
        run = Evaluation(options, rank, module)
        # `self.log` wants the metric itself to be an attribute.
        module.mean = module.means["a"]  # type: ignore[assignment]  # neither a tensor nor a module
        return work(run, rank.rank, module.means["a"])

    return Job(2).run(start)


def test_a_metric_object_is_computed_once_on_every_rank_and_reset(options: Options) -> None:
    def work(run: Evaluation, rank: int, metric: Mean) -> Any:
        if rank == 0:
            run.batch()
            metric.update(3.0)
            run.log("m", metric)
        run.end()
        return run.flush(), metric.num_computed, metric.values

    assert with_metric(options, work) == [({"m": 3.0}, 1, [])] * 2


def test_reading_metrics_on_one_rank_computes_no_metric_object(options: Options) -> None:
    def work(run: Evaluation, rank: int, metric: Mean) -> Any:
        run.batch()
        metric.update(3.0)
        run.log("m", metric, on_step=True, on_epoch=True)
        run.log("x", 1.0)
        run.end()
        run.board.take_current(run.results, alone=False)
        return run.shown(), metric.num_computed, run.flush()

    assert with_metric(options, work) == [({"x": 1.0}, 0, {"m_epoch": 3.0, "x": 1.0})] * 2


def test_a_metric_object_that_a_rank_cannot_find_is_refused_on_all(options: Options) -> None:
    def work(run: Evaluation, rank: int, metric: Mean) -> None:
        hidden = Mean()
        run.module.hidden = hidden  # type: ignore[assignment]  # neither a tensor nor a module
        if rank == 0:
            run.batch()
            run.log("m", hidden)
        del run.module.hidden
        run.end()
        with pytest.raises(RuntimeError, match=r"`m` is a metric object that ranks \[1\].*make it a submodule"):
            run.flush()

    with_metric(options, work)


@pytest.mark.parametrize("key", ["x", "m"])
def test_a_decision_before_the_flush_is_the_same_on_a_rank_without_batches(options: Options, key: str) -> None:
    def work(run: Evaluation, rank: int, metric: Mean) -> Any:
        if rank == 0:
            run.batch()
            metric.update(3.0)
            run.log("m", metric)
            run.log("x", 3.0)
        run.end()
        decided = reduced(run.results, run.board, key=key, ranks=run.rank)
        unknown = reduced(run.results, run.board, key="unknown", ranks=run.rank)
        return float(decided if decided is not None else -1), unknown, run.flush()[key]

    assert with_metric(options, work) == [(3.0, None, 3.0)] * 2


def test_a_rank_at_another_flush_is_told_by_the_names(options: Options) -> None:
    def work(run: Evaluation, rank: int) -> None:
        run.batch()
        run.log("ours", 1.0)
        if rank == 1:
            run.log("mine", 1.0, on_step=True, on_epoch=False)
        by_step = partial(flush_steps, run.results, run.board, loggers=[], ranks=run.rank)
        flush = by_step if rank == 1 else run.flush
        with pytest.raises(RuntimeError, match=r"`mine` only on ranks \[1\]; `ours` only on ranks \[0\]"):
            flush()

    on_ranks(options, 2, work)


def test_lists_of_a_metrics_parts_begin_like_those_of_the_other_ranks(options: Options) -> None:
    torchmetrics = pytest.importorskip("torchmetrics")

    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.metric = torchmetrics.CatMetric() + 0
            self.metric.metric_a.sync_on_compute = False

    def start(rank: Rank) -> list[Any]:
        run = Evaluation(options, rank, Rows())
        metric: Any = run.module.metric
        if rank.rank == 0:
            run.batch()
            metric.metric_a.value.append(torch.ones(1, 3, dtype=torch.int16))
            metric.metric_a._update_count = 1
            run.log("m", metric)
        run.end()
        slots_of_all_ranks(run.results, list(run.results) if rank.rank == 0 else [], rank)
        return [(tuple(rows.shape), rows.dtype) for rows in metric.metric_a.value]

    assert Job(2).run(start) == [[((1, 3), torch.int16)], [((0, 3), torch.int16)]]
