import warnings
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch

from lt_callbacks import DeviceStatsMonitor
from lt_interfaces import plugins
from lt_interfaces.errors import MisconfigurationException, missing_package
from lt_interfaces.states import RunningStage, TrainerFn

NewRun = Callable[..., Any]  # the stand-in run of conftest.py, which tests can't import


class Meter:
    """Measures a number that grows."""

    def __init__(self, *names: str) -> None:
        self.names = names or ("load",)
        self.measured = 0

    def get_device_stats(self, device: torch.device) -> Mapping[str, float]:
        self.measured += 1
        return dict.fromkeys(self.names, float(self.measured))


class Without:
    """Lacks what it takes to measure."""

    def get_device_stats(self, device: torch.device) -> Mapping[str, float]:
        missing = missing_package("psutil", "Measuring the CPU", "lt-fabric[stats]")
        raise missing


def hooks_of(journal: Any) -> list[tuple[int | None, str]]:
    """Return where each hook was logged, as "train_batch_start" with the step."""
    return [
        (step, name.removeprefix("DeviceStatsMonitor.on_").partition("/")[0])
        for step, metrics in journal.rows
        for name in metrics
    ]


def test_training_batches_are_measured_at_both_ends(new_run: NewRun, journal: Any) -> None:
    new_run(DeviceStatsMonitor(), loggers=[journal], accelerator=Meter()).fit(batches=2)
    assert journal.rows[0] == (0, {"DeviceStatsMonitor.on_train_batch_start/load": 2.0})
    assert hooks_of(journal) == [
        (batch + end, f"train_batch_{name}") for batch in range(2) for end, name in ((0, "start"), (1, "end"))
    ]


def test_validation_is_measured_where_training_stands(new_run: NewRun, journal: Any) -> None:
    new_run(DeviceStatsMonitor(), loggers=[journal], accelerator=Meter(), num_val_batches=[1]).fit(batches=2)
    assert [row for row in hooks_of(journal) if "validation" in row[1]] == [
        (2, "validation_batch_start"),
        (2, "validation_batch_end"),
    ]


def test_evaluation_alone_counts_its_batches_over_all_loaders(new_run: NewRun, journal: Any) -> None:
    run = new_run(DeviceStatsMonitor(), loggers=[journal], accelerator=Meter(), num_test_batches=[2, 1])
    run.state.fn, run.state.stage = TrainerFn.TESTING, RunningStage.TESTING
    for _ in range(2):
        journal.rows.clear()
        run.begin("test")
        run.evaluate("test", run.num_test_batches)
        assert hooks_of(journal) == [(batch, f"test_batch_{end}") for batch in range(3) for end in ("start", "end")]


def test_it_measures_only_when_values_are_due(new_run: NewRun, journal: Any) -> None:
    run = new_run(DeviceStatsMonitor(), loggers=[journal], accelerator=(meter := Meter()), logging_is_due=False)
    run.log_every_n_steps = 2
    run.num_val_batches = [5]
    run.fit(batches=4)
    assert hooks_of(journal) == [(4, f"validation_batch_{end}") for _ in range(2) for end in ("start", "end")]
    assert meter.measured == 1 + 4  # once when the run starts


@pytest.mark.parametrize("facts", [{"log_every_n_steps": 0}, {"sanity": True}])
def test_validation_is_not_measured_without_logging_and_in_the_sanity_check(
    facts: dict[str, Any], new_run: NewRun, journal: Any
) -> None:
    stage = RunningStage.SANITY_CHECKING if facts.pop("sanity", False) else RunningStage.VALIDATING
    run = new_run(DeviceStatsMonitor(), loggers=[journal], accelerator=Meter(), num_val_batches=[2], **facts)
    run.begin()
    run.validate(stage)
    assert journal.rows == []


def test_names_can_be_chosen_and_unknown_ones_are_told_once(new_run: NewRun, journal: Any) -> None:
    monitor = DeviceStatsMonitor(filter_keys=["memory", "fan"])
    run = new_run(monitor, loggers=[journal], accelerator=Meter("load", "memory"))
    with pytest.warns(UserWarning, match=r"no statistics called \['fan'\], only \['load', 'memory'\]") as told:
        run.fit(batches=2)
    assert len(told) == 1
    assert {name for _, metrics in journal.rows for name in metrics} == {
        "DeviceStatsMonitor.on_train_batch_start/memory",
        "DeviceStatsMonitor.on_train_batch_end/memory",
    }


def test_one_name_alone_is_refused() -> None:
    with pytest.raises(TypeError, match="`filter_keys` must be a set of names"):
        DeviceStatsMonitor(filter_keys="load")


@pytest.mark.parametrize(
    ("device", "cpu_stats", "names"),
    [
        ("cpu", None, {"device"}),
        ("cpu", True, {"device"}),
        ("cpu", False, set()),
        ("meta", None, {"device"}),
        ("meta", True, {"device", "cpu"}),
        ("meta", False, {"device"}),
    ],
)
def test_the_cpu_is_measured_as_told(
    device: str, cpu_stats: bool | None, names: set[str], new_run: NewRun, journal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins, "resolve", lambda kind, name: lambda: Meter("cpu"))
    run = new_run(DeviceStatsMonitor(cpu_stats), loggers=[journal], accelerator=Meter("device"))
    run.strategy.root_device = torch.device(device)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.fit(batches=1)
    assert {name.rpartition("/")[2] for _, metrics in journal.rows for name in metrics} == names


def test_what_is_missing_to_measure_is_said_before_anything_else(new_run: NewRun, journal: Any) -> None:
    run = new_run(DeviceStatsMonitor(), loggers=[journal], accelerator=Without())
    with pytest.raises(ModuleNotFoundError, match=r"pip install lt-fabric\[stats\]"):
        run.begin()
    new_run(DeviceStatsMonitor(cpu_stats=False), loggers=[journal], accelerator=Without()).fit(batches=1)


def test_fitting_needs_a_logger(new_run: NewRun) -> None:
    with pytest.raises(MisconfigurationException, match="`DeviceStatsMonitor` needs a logger"):
        new_run(DeviceStatsMonitor(), accelerator=Meter()).begin()


@pytest.mark.parametrize(("stage", "facts"), [("test", {}), ("fit", {"fast_dev_run": 1})])
def test_without_a_logger_evaluation_and_trials_go_on(stage: str, facts: dict[str, Any], new_run: NewRun) -> None:
    run = new_run(DeviceStatsMonitor(), accelerator=Meter(), **facts)
    run.begin(stage)
    run.tell("on_train_batch_start", None, 0)
    run.tell("on_test_batch_start", None, 0)
