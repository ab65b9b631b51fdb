from collections.abc import Callable
from typing import Any

import pytest

from lt_callbacks.batch_progress_bar import BatchProgressBar
from lt_callbacks.progress_display import Bar, Metrics, ProgressDisplay
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.states import RunningStage, TrainerFn

NewRun = Callable[..., Any]  # the stand-in run of conftest.py, which tests can't import


class Record(ProgressDisplay):
    """Draws into a list."""

    shortest_seconds = 0.0
    longest_seconds = 60.0

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def open(self, bar: Bar, description: str, total: float) -> None:
        self.calls.append(("open", description, total))

    def refresh(self, bar: Bar, done: int, metrics: Metrics) -> None:
        self.calls.append(("refresh", bar.name, done, dict(metrics)))

    def close(self, bar: Bar, *, keep: bool) -> None:
        self.calls.append(("close", bar.name, keep))

    def print(self, *args: Any, **kwargs: Any) -> None:
        self.calls.append(("print", *args))

    def stop(self) -> None:
        self.calls.append(("stop",))


class RecordedBar(BatchProgressBar):
    def make_display(self, trainer: Any) -> ProgressDisplay:
        self.record = Record()
        return self.record


def test_an_epoch_is_a_bar_that_ends_with_its_last_batch(new_run: NewRun) -> None:
    bar = RecordedBar(refresh_rate=2)
    new_run(bar, shown={"loss": 0.5}).fit(epochs=1, batches=5)
    shown = {"loss": 0.5}
    assert bar.record.calls == [
        ("open", "Epoch 0", 5),
        ("refresh", "TRAINING", 2, shown),
        ("refresh", "TRAINING", 4, shown),
        ("refresh", "TRAINING", 5, shown),
        ("close", "TRAINING", True),
        ("stop",),
    ]


def test_metrics_are_read_only_when_the_bar_is_drawn(new_run: NewRun) -> None:
    bar = RecordedBar(refresh_rate=50)
    run = new_run(bar).fit(batches=100)
    assert run.metric_reads == sum(call[0] == "refresh" for call in bar.record.calls) == 3


@pytest.mark.parametrize("leave", [True, False])
def test_bars_of_epochs_stay_on_request_and_the_last_one_always(new_run: NewRun, leave: bool) -> None:
    bar = RecordedBar(leave=leave)
    new_run(bar).fit(epochs=2, batches=1)
    assert [call[2] for call in bar.record.calls if call[0] == "close"] == [leave, True]


def test_validation_opens_a_bar_per_loader_and_renews_the_training_metrics(new_run: NewRun) -> None:
    bar = RecordedBar(refresh_rate=10)
    run = new_run(bar, num_val_batches=[2, 3], num_training_batches=4)
    run.begin()
    run.tell("on_train_epoch_start")
    run.tell("on_train_batch_end", None, None, 0)
    run.shown = {"vl": 0.25}
    run.validate()
    assert bar.record.calls[1:] == [
        ("open", "Validation DataLoader 0", 2),
        ("close", "EVALUATION", False),
        ("open", "Validation DataLoader 1", 3),
        ("close", "EVALUATION", False),
        ("refresh", "TRAINING", 1, {"vl": 0.25}),
    ]


@pytest.mark.parametrize(
    ("stage", "fn", "hooks", "expected"),
    [
        (RunningStage.SANITY_CHECKING, TrainerFn.FITTING, "validation", ("Sanity Checking DataLoader 0", 2, False)),
        (RunningStage.VALIDATING, TrainerFn.VALIDATING, "validation", ("Validation DataLoader 0", 3, True)),
        (RunningStage.TESTING, TrainerFn.TESTING, "test", ("Testing DataLoader 0", 4, True)),
        (RunningStage.PREDICTING, TrainerFn.PREDICTING, "predict", ("Predicting DataLoader 0", 5, True)),
    ],
)
def test_each_stage_has_its_word_its_total_and_its_end(
    new_run: NewRun, stage: RunningStage, fn: TrainerFn, hooks: str, expected: tuple[str, int, bool]
) -> None:
    bar = RecordedBar()
    totals = {
        "num_sanity_val_batches": [2],
        "num_val_batches": [3],
        "num_test_batches": [4],
        "num_predict_batches": [5],
    }
    run = new_run(bar, **totals)
    run.state.fn, run.state.stage = fn, stage
    run.begin(str(fn))
    run.evaluate(hooks, [1])
    opened, closed = bar.record.calls[0], bar.record.calls[-1]
    assert (*opened[1:], closed[2]) == expected


def test_a_failure_leaves_no_open_bar(new_run: NewRun) -> None:
    bar = RecordedBar()
    run = new_run(bar)
    run.begin()
    run.tell("on_train_epoch_start")
    run.tell("on_exception", KeyboardInterrupt())
    run.tell("teardown", "fit")
    assert bar.record.calls[-1] == ("stop",)
    assert bar.record.calls.count(("stop",)) == 1


@pytest.mark.parametrize(("rate", "rank"), [(0, 0), (1, 1)])
def test_nothing_is_shown_at_rate_zero_and_off_rank_zero(new_run: NewRun, rate: int, rank: int) -> None:
    bar = RecordedBar(refresh_rate=rate)
    run = new_run(bar, global_rank=rank, num_val_batches=[1]).fit(batches=3)
    assert bar.is_disabled
    assert not hasattr(bar, "record")
    assert run.metric_reads == 0


def test_what_the_module_prints_goes_above_the_bar(new_run: NewRun, capsys: pytest.CaptureFixture[str]) -> None:
    bar = RecordedBar()
    bar.print("before", "a", "run", sep="-")
    new_run(bar).begin()
    bar.print("during")
    assert capsys.readouterr().out == "before-a-run\n"
    assert bar.record.calls == [("print", "during")]


@pytest.mark.parametrize("rate", [-1, 1.5, True])
def test_another_rate_is_refused_by_name(rate: Any) -> None:
    with pytest.raises(MisconfigurationException, match="`refresh_rate` must be"):
        RecordedBar(refresh_rate=rate)
