from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lt_core.logging.recorder import Recorder, Results
from lt_core.logging.slots import LogOptions
from lt_interfaces.errors import MisconfigurationException

Options = Callable[..., LogOptions]


class Last(nn.Module):
    """A metric object that is the last value."""

    def __init__(self) -> None:
        super().__init__()
        self.value = torch.zeros(())

    def update(self, value: float) -> None:
        self.value = torch.tensor(value)

    def compute(self) -> Tensor:
        return self.value

    def reset(self) -> None:
        self.value = torch.zeros(())


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.metric = Last()
        self.nested = nn.ModuleDict({"last": Last()})


@pytest.fixture
def recorder() -> Recorder:
    """One that records a training step."""
    recorder = Recorder()
    recorder.results = Results(is_evaluation=False)
    recorder.hook = "training_step"
    return recorder


@dataclass
class Log:
    """Logs to a recorder as `self.log` does."""

    recorder: Recorder
    options: Options
    module: nn.Module

    def __call__(self, name: str, value: Any, batch_size: int | None = None, **changes: Any) -> None:
        self.recorder.log(self.module, name, value=value, batch_size=batch_size, options=self.options(**changes))

    def epoch_value(self, name: str) -> float:
        assert self.recorder.results is not None
        slot = next(slot for (_, found, _), slot in self.recorder.results.slots.items() if found == name)
        return float(slot.epoch_value()[0])


@pytest.fixture
def log(recorder: Recorder, options: Options) -> Log:
    return Log(recorder, options, Model())


def test_the_same_name_in_the_same_hook_accumulates(log: Log, recorder: Recorder) -> None:
    for value in (1.0, 3.0):
        log("loss", value, on_epoch=True)
    assert recorder.results is not None
    assert len(recorder.results.slots) == 1
    assert log.epoch_value("loss") == 2.0


def test_the_same_name_with_other_arguments_is_refused(log: Log) -> None:
    log("loss", 1.0)
    with pytest.raises(MisconfigurationException, match="called twice in `training_step` with different arguments"):
        log("loss", 1.0, prog_bar=True)


def test_hooks_and_loaders_have_slots_of_their_own(log: Log, recorder: Recorder) -> None:
    log("loss", 1.0)
    recorder.hook = "on_train_batch_end"
    log("loss", 2.0, prog_bar=True)
    for idx in (0, 1):
        recorder.dataloader_idx = idx
        log("loss", 3.0, prog_bar=True)
    assert recorder.results is not None
    assert len(recorder.results.slots) == 4


@pytest.mark.parametrize(
    "batch",
    [
        torch.zeros(6, 2),
        [torch.zeros(6), torch.zeros(6, 3)],
        {"name": "text", "x": torch.zeros(6)},
        ("text", {"deep": [torch.zeros(6)]}),
    ],
)
def test_means_are_weighted_by_the_size_of_the_batch(log: Log, recorder: Recorder, batch: Any) -> None:
    recorder.start_batch(batch)
    log("loss", 1.0, on_epoch=True)
    recorder.start_batch(torch.zeros(2, 2))
    log("loss", 5.0, on_epoch=True)
    assert log.epoch_value("loss") == (6 * 1.0 + 2 * 5.0) / 8


def test_a_given_batch_size_goes_first(log: Log, recorder: Recorder) -> None:
    recorder.start_batch("a batch whose size can't be found")
    log("loss", 1.0, 3, on_epoch=True)
    log("loss", 5.0, 1, on_epoch=True)
    assert log.epoch_value("loss") == 2.0


def test_a_size_that_cannot_be_found_is_refused_only_where_a_mean_needs_it(log: Log, recorder: Recorder) -> None:
    recorder.start_batch(["no", "tensor"])
    log("per_step", torch.tensor(1.0))
    log("total", torch.tensor(1.0), on_epoch=True, reduce_fx="sum")
    with pytest.raises(MisconfigurationException, match="Pass `batch_size` where you log"):
        log("mean", torch.tensor(1.0), on_epoch=True)


def test_outside_of_batches_every_value_counts_once(log: Log, recorder: Recorder) -> None:
    recorder.start_batch(torch.zeros(6, 2))
    recorder.end_batches()
    recorder.hook = "on_train_epoch_end"
    for value in (1.0, 2.0):
        log("score", value)
    assert log.epoch_value("score") == 1.5


def test_stages_that_log_nothing_refuse(log: Log, recorder: Recorder) -> None:
    recorder.results = None
    recorder.hook = "predict_step"
    with pytest.raises(MisconfigurationException, match="can't be used in `predict_step`"):
        log("loss", 1.0)


def test_metric_objects_are_found_wherever_the_module_holds_them(log: Log) -> None:
    model = log.module
    assert isinstance(model, Model)
    log("own", model.metric)
    log("nested", model.nested["last"])
    log("named", Last(), metric_attribute="metric")


def test_metric_objects_of_nobody_are_refused(log: Log) -> None:
    with pytest.raises(MisconfigurationException, match="must be an attribute of the module"):
        log("loose", Last())
    with pytest.raises(MisconfigurationException, match="no such attribute"):
        log("loose", Last(), metric_attribute="nothing")


def test_loaders_that_share_a_name_are_averaged_together(log: Log, recorder: Recorder) -> None:
    recorder.hook = "validation_step"
    for idx, value in ((0, 1.0), (1, 3.0)):
        recorder.dataloader_idx = idx
        recorder.start_batch(torch.zeros(2))
        log("loss", value, add_dataloader_idx=False)
    assert log.epoch_value("loss") == 2.0


def test_a_resumed_epoch_goes_on_where_it_stood(options: Options, recorder: Recorder, log: Log) -> None:
    recorder.start_batch(torch.zeros(4))
    log("loss", 1.0, on_epoch=True)
    assert recorder.results is not None
    state = recorder.results.state_dict({})
    resumed = Recorder()
    resumed.hook, resumed.results = "training_step", Results(is_evaluation=False)
    resumed.results.load_state_dict(state, {})
    again = Log(resumed, options, Model())
    resumed.start_batch(torch.zeros(12))
    again("loss", 5.0, on_epoch=True)
    assert again.epoch_value("loss") == 4.0


def test_state_holds_only_what_was_logged_and_loads_into_slots_that_exist(log: Log, recorder: Recorder) -> None:
    log("loss", 1.0, on_epoch=True)
    assert recorder.results is not None
    state = recorder.results.state_dict({})
    recorder.results.reset()
    assert recorder.results.state_dict({}) == {"slots": []}
    recorder.results.load_state_dict(state, {})
    assert log.epoch_value("loss") == 1.0
