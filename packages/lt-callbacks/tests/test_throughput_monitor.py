import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

from lt_callbacks import ThroughputMonitor, throughput_meter, throughput_monitor
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.precision import PrecisionDtypes
from lt_interfaces.states import RunningStage, TrainerFn
from lt_interfaces.throughput import Throughput

NewRun = Callable[..., Any]  # the stand-in run of conftest.py, which tests can't import


class Formats:
    """A precision, as far as its formats are asked for."""

    def __init__(self, **formats: Any) -> None:
        self._formats = formats

    def dtypes(self) -> PrecisionDtypes:
        return PrecisionDtypes(**self._formats)


class Clock:
    """Stands still but for what's added."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(throughput_meter, "perf_counter", found)
    return found


@pytest.fixture
def started(new_run: NewRun, journal: Any) -> Callable[..., Any]:
    """Makes runs of which training has started; batches are lists of samples."""

    def start(monitor: ThroughputMonitor, *, flops: Any = None, formats: Any = None, **facts: Any) -> Any:
        run = new_run(monitor, **{"loggers": [journal], **facts})
        run.precision_plugin = Formats(**(formats or {}))
        run.module.flops_per_batch = flops
        run.begin()
        run.tell("on_train_start")
        return run

    return start


def train(run: Any, clock: Clock, *sizes: int, seconds: float = 2.0, begin: int = 0) -> None:
    """Train batches of these sizes, each in so many seconds."""
    for batch_idx, size in enumerate(sizes, start=begin):
        clock.seconds += seconds
        run.batches += 1
        run.global_step += (batch_idx + 1) % run.accumulate_grad_batches == 0
        run.tell("on_train_batch_end", None, [0] * size, batch_idx)


def evaluate(run: Any, clock: Clock, name: str, batches: int, stage: RunningStage) -> None:
    run.state.stage = stage
    run.tell(f"on_{name}_start")
    for batch_idx in range(batches):
        clock.seconds += 1.0
        run.tell(f"on_{name}_batch_end", None, [0] * 3, batch_idx, 0)
    run.tell(f"on_{name}_end")
    run.state.stage = RunningStage.TRAINING


def test_rates_of_training_are_logged_under_its_name(started: Callable[..., Any], clock: Clock, journal: Any) -> None:
    monitor = ThroughputMonitor(len, lambda batch: 5 * len(batch), window_size=2, available_flops=200.0)
    train(started(monitor, flops=100, world_size=2), clock, 8, 4)
    assert journal.rows == [
        (1, {"train/time": 2.0, "train/batches": 1, "train/samples": 8, "train/lengths": 40}),
        (
            2,
            {
                "train/time": 4.0,
                "train/batches": 2,
                "train/samples": 12,
                "train/lengths": 60,
                "train/device/batches_per_sec": 0.5,
                "train/batches_per_sec": 1.0,
                "train/device/samples_per_sec": 2.0,
                "train/samples_per_sec": 4.0,
                "train/device/items_per_sec": 10.0,
                "train/items_per_sec": 20.0,
                "train/device/flops_per_sec": 50.0,
                "train/flops_per_sec": 100.0,
                "train/device/mfu": 0.25,
            },
        ),
    ]


def test_training_is_logged_with_the_steps_that_are_due(
    started: Callable[..., Any], clock: Clock, journal: Any
) -> None:
    run = started(ThroughputMonitor(len), flops=1, accumulate_grad_batches=2)
    train(run, clock, 1, 1, 1)
    run.logging_is_due = False
    train(run, clock, 1, begin=3)
    assert [metrics["train/batches"] for _, metrics in journal.rows] == [2]


def test_batches_that_were_left_out_are_not_counted(started: Callable[..., Any], clock: Clock, journal: Any) -> None:
    run = started(ThroughputMonitor(len), flops=1)
    run.tell("on_train_batch_end", None, None, 0)
    train(run, clock, 1, begin=1)
    assert [metrics["train/batches"] for _, metrics in journal.rows] == [1]


def test_the_time_of_validation_is_not_that_of_training(
    started: Callable[..., Any], clock: Clock, journal: Any
) -> None:
    run = started(ThroughputMonitor(len, window_size=2), flops=1)
    train(run, clock, 4)
    evaluate(run, clock, "validation", 50, RunningStage.VALIDATING)
    train(run, clock, 4, begin=1)
    assert journal.rows[-1][1]["train/device/samples_per_sec"] == 2.0
    assert journal.rows[-1][1]["train/time"] == 4.0


def test_validation_counts_anew_and_is_logged_where_training_stands(
    started: Callable[..., Any], clock: Clock, journal: Any
) -> None:
    run = started(ThroughputMonitor(len, window_size=2), flops=1, log_every_n_steps=2, logging_is_due=False)
    for begin in (0, 1):
        train(run, clock, 4, begin=begin)
        evaluate(run, clock, "validation", 5, RunningStage.VALIDATING)
    found = [(step, metrics["validate/batches"], metrics["validate/samples"]) for step, metrics in journal.rows]
    assert found == [(1, 2, 6), (1, 4, 12), (2, 2, 6), (2, 4, 12)]
    assert journal.rows[-1][1]["validate/device/samples_per_sec"] == 3.0


@pytest.mark.parametrize(
    ("name", "fn", "stage"),
    [
        ("test", TrainerFn.TESTING, RunningStage.TESTING),
        ("predict", TrainerFn.PREDICTING, RunningStage.PREDICTING),
        ("validation", TrainerFn.VALIDATING, RunningStage.VALIDATING),
    ],
)
def test_evaluation_alone_is_logged_at_its_own_batches(
    name: str, fn: TrainerFn, stage: RunningStage, started: Callable[..., Any], clock: Clock, journal: Any
) -> None:
    run = started(ThroughputMonitor(len), flops=1, log_every_n_steps=2)
    run.state.fn = fn
    evaluate(run, clock, name, 4, stage)
    assert [(step, metrics[f"{stage.value}/samples"]) for step, metrics in journal.rows] == [(2, 6), (4, 12)]


@pytest.mark.parametrize(("stage", "every"), [(RunningStage.SANITY_CHECKING, 1), (RunningStage.VALIDATING, 0)])
def test_the_sanity_check_and_runs_that_log_nothing_are_left_alone(
    stage: RunningStage, every: int, started: Callable[..., Any], clock: Clock, journal: Any
) -> None:
    evaluate(started(ThroughputMonitor(len), log_every_n_steps=every, flops=1), clock, "validation", 2, stage)
    assert journal.rows == []


def test_without_flops_there_are_the_other_rates_and_one_warning(
    started: Callable[..., Any], clock: Clock, journal: Any
) -> None:
    run = started(ThroughputMonitor(len, window_size=2))
    with pytest.warns(UserWarning, match="Linear has no `flops_per_batch`") as told:
        train(run, clock, 1, 1, 1)
    assert len(told) == 1
    assert "train/device/samples_per_sec" in journal.rows[-1][1]
    assert not [name for name in journal.rows[-1][1] if "flops" in name]


def test_flops_that_are_no_number_are_refused(started: Callable[..., Any], clock: Clock) -> None:
    with pytest.raises(MisconfigurationException, match="must be a whole number, as an attribute or property"):
        train(started(ThroughputMonitor(len), flops=lambda: 5), clock, 1)


@pytest.mark.parametrize("arguments", [{"window_size": 1}, {"world_size": 2}, {"windowsize": 5}])
def test_what_throughput_does_not_take_is_refused_at_once(arguments: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        ThroughputMonitor(len, **arguments)


@pytest.mark.parametrize(
    ("formats", "asked"),
    [
        ({}, torch.float32),
        ({"compute": torch.bfloat16, "reduce": torch.float32}, torch.bfloat16),
        ({"param": torch.float16}, torch.float16),
    ],
)
def test_what_the_device_can_do_is_looked_up_in_the_format_that_is_computed_in(
    formats: dict[str, Any], asked: torch.dtype, started: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {(torch.device("cpu"), asked): 7}
    monkeypatch.setattr(throughput_monitor, "get_available_flops", lambda *args: known[args])
    looked_up, given = ThroughputMonitor(len), ThroughputMonitor(len, available_flops=5)
    started(looked_up, formats=formats)
    started(given, formats=formats)
    assert (looked_up.available_flops, given.available_flops) == (7, 5)


def test_counts_are_right_where_readings_are_taken_late(
    started: Callable[..., Any], clock: Clock, journal: Any
) -> None:
    run = started(ThroughputMonitor(len, window_size=3), flops=1, logging_is_due=False)
    train(run, clock, *[2] * 250)
    run.logging_is_due = True
    train(run, clock, 2, begin=250)
    metrics = journal.rows[-1][1]
    assert (metrics["train/batches"], metrics["train/samples"], metrics["train/time"]) == (251, 502, 502.0)


def test_batches_that_end_at_once_by_a_coarse_clock_are_no_error(started: Callable[..., Any], clock: Clock) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(started(ThroughputMonitor(len, window_size=2), flops=1), clock, 1, 1, 1, seconds=0.0)


@pytest.mark.gpu
def test_a_gpu_says_itself_when_it_was_done() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    meter = throughput_meter.ThroughputMeter(Throughput(window_size=2), device)
    for _ in range(3):
        torch.cuda._sleep(200_000_000)  # type: ignore[no-untyped-call]  # about a tenth of a second, in which the host goes on
        meter.count(samples=4, length=None, flops=None)
    rates = meter.rates()
    assert rates["batches"] == 3
    assert 0.1 < rates["time"] < 1.0
    assert 10 < rates["device/samples_per_sec"] < 200
