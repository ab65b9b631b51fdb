"""What's logged in a compiled step: as without, and without a break of its graph."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from compiled_runs import Graphs, Logs, fitted
from tiny_runs import Batches, Net, fit, rows, trainer_with
from torch import Tensor, nn

from lt_core import LightningModule
from lt_core.compiled import PendingLog, compiled_steps
from lt_core.logging.rules import slot_rule
from lt_core.logging.slots import LogOptions, ValueSlot
from lt_core.logging.uncompiled import Uncompiled
from lt_interfaces.errors import MisconfigurationException


def test_a_step_that_logs_eleven_values_is_one_graph(tmp_path: Path) -> None:
    graphs = Graphs()
    fitted(tmp_path, Logs(), limit_val_batches=1.0, compile={"backend": graphs, "fullgraph": True})
    assert graphs.breaks == {}


def test_a_short_last_batch_costs_one_recompilation_in_three_epochs(tmp_path: Path) -> None:
    graphs = Graphs()
    fitted(tmp_path, Logs(), compile={"backend": graphs})
    assert graphs.breaks == {}
    assert graphs.run == 9
    assert graphs.compiled == 2, graphs.reasons


def test_the_same_values_are_logged_as_without_compiling(tmp_path: Path) -> None:
    validating = {"limit_val_batches": 1.0}
    plain, expected = fitted(tmp_path, Logs(), **validating)
    compiled, found = fitted(tmp_path, Logs(), compile={"backend": Graphs()}, **validating)
    assert len(expected.sent) > 12
    assert [(step, list(values)) for step, values in found.sent] == [
        (step, list(values)) for step, values in expected.sent
    ]
    for (_, one), (_, other) in zip(found.sent, expected.sent, strict=True):
        assert one == pytest.approx(other, rel=0, abs=1e-6)
    for name in ("callback_metrics", "logged_metrics"):
        torch.testing.assert_close(getattr(compiled, name), getattr(plain, name), rtol=0, atol=1e-6)
    assert compiled.progress_bar_metrics == pytest.approx(plain.progress_bar_metrics, rel=0, abs=1e-6)


class Changes(Net):
    """Changes a tensor in place after it logged it."""

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        value = loss.detach() * 1
        self.log("before", value, on_step=True, on_epoch=True)
        value.add_(100)
        self.log("after", value, on_step=True, on_epoch=True)
        return loss


def test_a_value_is_the_one_that_was_logged_whatever_happens_to_its_tensor(tmp_path: Path) -> None:
    expected = fit(tmp_path, Changes()).callback_metrics
    found = fit(tmp_path, Changes(), compile={"backend": Graphs(), "fullgraph": True}).callback_metrics
    torch.testing.assert_close(found, expected)
    assert found["after"] - found["before"] == pytest.approx(100, abs=1e-3)


class KeepsGraph(Net):
    """Keeps the autograd graph of one of two values."""

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        self.log("with", loss, enable_graph=True)
        self.log("without", loss)
        return loss

    def on_train_batch_end(self, *args: Any) -> None:
        slots = self._recorder.results.slots  # type: ignore[union-attr]  # it's running
        with_graph, without = (slots["training_step", name, None].step_value()[0] for name in ("with", "without"))
        assert with_graph.requires_grad
        assert not without.requires_grad


def test_the_graph_of_a_value_is_kept_where_thats_asked_for(tmp_path: Path) -> None:
    fit(tmp_path, KeepsGraph())
    fit(tmp_path, KeepsGraph(), compile={"backend": "aot_eager", "fullgraph": True})


class Counts(Net):
    """Logs Python numbers: of the batch's shape, of its own, and numbers of the step."""

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        self.log("rows", batch.shape[0], on_step=True, on_epoch=True, reduce_fx="sum")
        self.log("share", batch.shape[0] / 4, on_epoch=True)
        self.log("is big", batch.shape[0] > 3, on_step=True)
        self.log("batch_idx", batch_idx, on_step=True, on_epoch=True)
        self.log("weighted", loss, on_epoch=True, batch_size=batch.shape[0] + 1)
        return loss


def test_numbers_of_a_batchs_shape_are_those_of_this_batch(tmp_path: Path) -> None:
    batches = Batches(torch.ones(size, 3) * size for size in (4, 4, 3, 2, 5))
    expected = fit(tmp_path, Counts(), data=batches).callback_metrics
    found = fit(tmp_path, Counts(), data=batches, compile={"backend": "aot_eager", "fullgraph": True}).callback_metrics
    assert expected["rows_epoch"] == 18
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


class Mean:
    """A metric object."""

    def __init__(self) -> None:
        self.total = torch.zeros(())
        self.count = 0

    def update(self, values: Tensor) -> None:
        self.total = self.total + values.detach().sum()
        self.count += 1

    def compute(self) -> Tensor:
        return self.total / self.count

    def reset(self) -> None:
        self.__init__()  # type: ignore[misc]  # begins anew


class Measures(Net):
    def __init__(self) -> None:
        super().__init__()
        self.metric = Mean()
        self.copied = self.metric

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        self.metric.update(batch)
        self.log("metric", self.metric, on_step=False, on_epoch=True)
        return loss

    def on_train_end(self) -> None:
        self.copied = copy.deepcopy(self.metric)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch looks at it itself, behind a break
def test_metric_objects_run_between_graphs_and_are_recorded_as_without_compiling(tmp_path: Path) -> None:
    graphs, module = Graphs(), Measures()
    expected = fit(tmp_path, Measures(), data=rows(12)).callback_metrics
    found = fit(tmp_path, module, data=rows(12), compile={"backend": graphs}).callback_metrics
    torch.testing.assert_close(found, expected)
    assert list(graphs.breaks.values()) == [1]
    assert graphs.reasons == []  # its count, a Python number, goes up in each step
    fit(tmp_path, module, data=rows(12), compile={"backend": graphs})
    assert graphs.reasons == []


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
def test_metric_objects_are_left_as_they_were(tmp_path: Path) -> None:
    module = Measures()
    before = set(vars(module.metric))
    fit(tmp_path, module, compile={"backend": Graphs()})
    assert set(vars(module.metric)) == before
    assert not any(isinstance(value, Uncompiled) for value in vars(module.copied).values())
    module.copied.reset()
    module.copied.update(torch.ones(2))  # the copy's own, made while the original's was kept out of graphs
    assert module.copied.compute() == 2
    assert module.metric.count == 0


class Part(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        self.log("of the part", out.mean(), on_epoch=True)
        return out


class Whole(Net):
    def __init__(self) -> None:
        super().__init__()
        self.part = Part()
        nn.init.ones_(self.part.layer.weight)
        nn.init.zeros_(self.part.layer.bias)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.part(batch).square().mean()


def test_modules_within_the_module_log_too(tmp_path: Path) -> None:
    expected = fit(tmp_path, Whole()).callback_metrics
    found = fit(tmp_path, Whole(), compile={"backend": Graphs(), "fullgraph": True}).callback_metrics
    assert "of the part_epoch" in expected
    torch.testing.assert_close(found, expected)


class Prints(Net):
    """Breaks its graph between two calls."""

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        self.log("first", loss, on_epoch=True)
        torch._dynamo.graph_break()
        self.log("second", loss * 2, on_epoch=True)
        return loss


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch looks at it itself, behind a break
def test_a_graph_that_the_user_breaks_logs_all_the_same(tmp_path: Path) -> None:
    graphs = Graphs()
    expected = fit(tmp_path, Prints()).callback_metrics
    found = fit(tmp_path, Prints(), compile={"backend": graphs}).callback_metrics
    assert len(graphs.breaks) == 1
    assert graphs.compiled == 2, graphs.reasons
    torch.testing.assert_close(found, expected)


class LogsBadly(Net):
    def __init__(self, value: Any = None, **options: Any) -> None:
        super().__init__()
        self.value, self.options = value, options

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        self.log("value", batch if self.value is None else self.value, **self.options)
        return loss


@pytest.mark.parametrize(
    ("module", "error", "message"),
    [
        (LogsBadly(), ValueError, r"takes one number, but got a tensor of shape \(2, 3\)"),
        (LogsBadly("text"), ValueError, "but got str"),
        (LogsBadly({"a": 1}), ValueError, "a dict; use `self.log_dict`"),
        (LogsBadly(1.0, reduce_fx="median"), MisconfigurationException, "reduce_fx"),
        (LogsBadly(1.0, on_step=False, on_epoch=False), MisconfigurationException, "nothing would be logged"),
    ],
)
def test_what_log_refuses_is_refused_in_the_same_words(tmp_path: Path, module: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message) as plain:
        fit(tmp_path, module)
    with pytest.raises(error, match=message) as compiled:
        fit(tmp_path, module, compile={"backend": Graphs()})
    assert str(compiled.value) == str(plain.value)


class Fails(Net):
    fails = True

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        self.log("loss", loss, on_epoch=True)
        torch._dynamo.graph_break()
        if self.fails:
            message = "on purpose"
            raise ValueError(message)
        return loss


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
def test_nothing_is_left_of_a_step_that_raises(tmp_path: Path) -> None:
    module = Fails()
    with compiled_steps(module, lambda step: torch.compile(step, backend=Graphs())):
        recorder = module._recorder
        with pytest.raises(ValueError, match="on purpose"):
            module.training_step(torch.ones(2, 3), 0)
        assert module._recorder is recorder
        module.fails = False
        with pytest.warns(UserWarning, match="without a running Trainer") as warned:
            module.training_step(torch.ones(2, 3), 0)
    assert len(warned) == 1


def test_a_pending_log_keeps_nothing_of_what_was_taken() -> None:
    pending, module = PendingLog(), Net()
    options = LogOptions(False, None, None, None, "mean", False, False, None, True, None, False)
    pending.log(module, "name", value=torch.ones(()), batch_size=None, options=options)
    assert [call.name for call in pending.take()] == ["name"]
    assert pending.take() == []


def test_a_bare_loop_drops_what_compiled_steps_log(tmp_path: Path) -> None:
    graphs = Graphs()
    with pytest.warns(UserWarning, match="barebones"):
        trainer_with(tmp_path, barebones=True, compile={"backend": graphs, "fullgraph": True}, **BARE).fit(
            Counts(), rows(), rows()
        )
    assert graphs.breaks == {}


BARE: dict[str, Any] = {
    "log_every_n_steps": None,
    "logger": None,
    "enable_checkpointing": None,
    "enable_progress_bar": None,
    "enable_model_summary": None,
}


@pytest.mark.parametrize("on_step", [False, True])
@pytest.mark.parametrize("reduce_fx", ["mean", "sum", "min", "max"])
def test_no_slot_keeps_memory_that_a_compiled_step_may_use_again(on_step: bool, reduce_fx: str) -> None:
    """With CUDA graphs the next step writes its outputs where the last one's are."""
    options = LogOptions(False, None, on_step, True, reduce_fx, False, False, None, True, None, False)
    slot = ValueSlot(slot_rule("training_step", "name", options=options, dataloader_idx=None), options)
    value = torch.ones(())
    for _ in range(2):
        slot.update(value, 1)
    before = str(slot.state_dict())
    value.fill_(torch.nan)
    assert str(slot.state_dict()) == before
