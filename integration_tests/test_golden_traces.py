"""Who is called when: whole runs are compared, event by event, with traces recorded on Lightning 2.6.

`golden_hook_traces.txt` holds the recordings: `CB` is a callback, `M` the module, `DM` the datamodule, `LOG` a logger.
Where lt differs on purpose, the difference is applied to the golden trace here, with its reason; the page
docs/explanation/differences.md lists it for users.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lt_callbacks import ModelCheckpoint
from lt_core import LightningModule, Trainer
from lt_datamodules import LightningDataModule
from lt_interfaces.callback import Callback
from lt_interfaces.logger import Logger

# The recorded module overrides the transfer hooks beside a datamodule that doesn't, as in the recordings.
pytestmark = pytest.mark.filterwarnings("ignore:.*is overridden in the module only:UserWarning")

Trace = list[str]


def read_traces() -> dict[str, Trace]:
    text = (Path(__file__).parent / "golden_hook_traces.txt").read_text()
    sections = re.findall(r"^# (.+)\n((?:(?!#).+\n?)+)", text, re.MULTILINE)
    return {name: " ".join(body.split("\n")).strip().split(" > ") for name, body in sections}


GOLDEN = read_traces()

# --- what is recorded ---

CALLBACK_EVENTS = [
    *("setup", "teardown", "on_fit_start", "on_fit_end", "on_sanity_check_start", "on_sanity_check_end"),
    *("on_train_start", "on_train_end", "on_train_epoch_start", "on_train_epoch_end"),
    *("on_train_batch_start", "on_train_batch_end", "on_before_zero_grad", "on_before_backward", "on_after_backward"),
    *("on_before_optimizer_step", "on_exception", "state_dict", "on_save_checkpoint", "on_load_checkpoint"),
    *(f"on_{stage}_{moment}" for stage in ("validation", "test", "predict") for moment in ("start", "end")),
    *(f"on_{stage}_epoch_{moment}" for stage in ("validation", "test", "predict") for moment in ("start", "end")),
    *(f"on_{stage}_batch_{moment}" for stage in ("validation", "test", "predict") for moment in ("start", "end")),
]
MODULE_EVENTS = [
    *(name for name in CALLBACK_EVENTS if "sanity" not in name and name != "on_exception"),
    *("configure_callbacks", "configure_model", "configure_optimizers", "zero_grad", "load_state_dict"),
    *("on_validation_model_zero_grad", "on_validation_model_eval", "on_test_model_eval", "on_predict_model_eval"),
    *("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer"),
    *("optimizer_step", "optimizer_zero_grad", "backward", "manual_backward", "configure_gradient_clipping"),
    *("clip_gradients", "lr_scheduler_step", "training_step", "validation_step", "test_step", "predict_step"),
]
DATA_EVENTS = [
    *("prepare_data", "setup", "teardown", "state_dict", "on_exception"),
    *(f"{stage}_dataloader" for stage in ("train", "val", "test", "predict")),
]
LOGGER_EVENTS = ["log_metrics", "log_hyperparams", "log_graph", "save", "finalize", "after_save_checkpoint"]


def detail(name: str, arguments: list[Any]) -> str:
    """Return what a trace shows of an event's arguments."""
    if name in ("setup", "teardown", "finalize"):
        return f"({getattr(arguments[-1], 'value', arguments[-1])})"
    if name == "log_metrics":
        metrics, step = arguments
        return f"(step={step}, {sorted(metrics)})"
    return ""


def recorded(cls: type, who: str, names: Iterable[str]) -> type:
    """Return a subclass whose methods write themselves into `self.trace` before they do their work."""

    def recording(name: str) -> Callable[..., Any]:
        method = getattr(cls, name)

        def record(self: Any, *args: Any, **kwargs: Any) -> Any:
            self.trace.append(f"{who}.{name}{detail(name, [*args, *kwargs.values()])}")
            return method(self, *args, **kwargs)

        return record

    return type(cls.__name__, (cls,), {name: recording(name) for name in names} | {"__module__": __name__})


class PlainModule(LightningModule):
    """Does what the recorded module did: logs a loss per step and epoch, and has a scheduler that steps per epoch."""

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self.trace: Trace = []
        self.layer = nn.Linear(4, 1)
        self.trace = trace

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = self.layer(batch).square().mean()
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("vl", self.layer(batch).sum())

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("tl", self.layer(batch).sum())

    def predict_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.layer(batch)

    def configure_callbacks(self) -> list[Any]:
        return []

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.01)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


class ManualModule(PlainModule):
    def __init__(self, trace: Trace) -> None:
        super().__init__(trace)
        self.automatic_optimization = False

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(self.layer(batch).square().mean())
        optimizer.step()


class PlainData(LightningDataModule):
    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self.trace = trace

    def train_dataloader(self) -> Any:
        return DataLoader(torch.randn(8, 4), batch_size=2)

    def val_dataloader(self) -> Any:
        return DataLoader(torch.randn(8, 4), batch_size=2)

    def test_dataloader(self) -> Any:
        return DataLoader(torch.randn(8, 4), batch_size=2)

    def predict_dataloader(self) -> Any:
        return DataLoader(torch.randn(8, 4), batch_size=2)


class PlainCallback(Callback):
    def __init__(self, trace: Trace) -> None:
        self.trace = trace


class PlainLogger(Logger):
    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self.trace = trace

    name = "recorded"
    version = 0

    def log_metrics(self, metrics: Any, step: int | None = None) -> None: ...

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None: ...

    def log_graph(self, model: nn.Module, input_array: Tensor | None = None) -> None: ...

    def save(self) -> None: ...

    def finalize(self, status: str) -> None: ...


RecordedCallback = recorded(PlainCallback, "CB", CALLBACK_EVENTS)
RecordedModule = recorded(PlainModule, "M", MODULE_EVENTS)
RecordedManualModule = recorded(ManualModule, "M", MODULE_EVENTS)
RecordedData = recorded(PlainData, "DM", DATA_EVENTS)
RecordedLogger = recorded(PlainLogger, "LOG", LOGGER_EVENTS)


class FailingModule(RecordedModule):  # type: ignore[misc, valid-type]  # the base is made above
    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        message = "broken step"
        raise ValueError(message)


class Recording:
    """A trainer, module and datamodule that write into one trace."""

    def __init__(self, root: Path, module: type = RecordedModule, **arguments: Any) -> None:
        self.trace: Trace = []
        self.module = module(self.trace)
        self.data = RecordedData(self.trace)
        self.trainer = Trainer(
            accelerator="cpu",
            default_root_dir=root,
            logger=RecordedLogger(self.trace),
            callbacks=[RecordedCallback(self.trace), *arguments.pop("callbacks", [])],
            log_every_n_steps=1,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=arguments.pop("enable_checkpointing", False),
            **({"max_epochs": 1, "num_sanity_val_steps": 0} | arguments),
        )
        # What the module did while it was made doesn't belong to the run.
        self.trace.clear()

    def fit(self, **arguments: Any) -> Trace:
        self.trainer.fit(self.module, datamodule=self.data, **arguments)
        return self.trace


# --- what is different on purpose ---

STEP_METRICS = re.compile(r"LOG\.log_metrics\(step=\d+, \[('epoch', )?'\w+_step'\]\)")


def saved_at_flushes(trace: Trace) -> Trace:
    """Drop the save after each step's metrics.

    Lightning saves after every log call, which makes `flush_logs_every_n_steps` ineffective; here loggers are saved
    when a run starts, with the values of an epoch, before a checkpoint and at the end.
    """
    return [
        event
        for before, event in zip(["", *trace], trace, strict=False)
        if not (event == "LOG.save" and STEP_METRICS.fullmatch(before))
    ]


def saved_before_checkpoints(trace: Trace) -> Trace:
    """Save the loggers before each checkpoint: what was logged up to it survives when the run is killed after it."""
    saved: Trace = []
    for event in trace:
        if event == "M.state_dict":
            saved.append("LOG.save")
        saved.append(event)
    return saved


def saved_each_epoch(trace: Trace) -> Trace:
    """Save the loggers at the end of an epoch in which nothing was logged per epoch: step values may be waiting."""
    at = trace.index("M.on_train_epoch_end") + 1
    return [*trace[:at], "LOG.save", *trace[at:]]


def torn_down_after_exception(trace: Trace) -> Trace:
    """Add the teardown hooks, which Lightning skips after an exception: what `setup` opened must be closed."""
    return [*trace, "DM.teardown(fit)", "CB.teardown(fit)", "M.teardown(fit)"]


def callbacks_hear_of_any_file(trace: Trace) -> Trace:
    """Let callbacks hear of a file without callback states, which Lightning passes over: other tools write such."""
    at = trace.index("M.load_state_dict") + 1
    return [*trace[:at], "CB.on_load_checkpoint", *trace[at:]]


def assert_same(trace: Trace, expected: Trace) -> None:
    # Line by line, so that pytest shows the first event that differs in its neighbourhood.
    assert "\n".join(trace) == "\n".join(expected)


# --- the promises ---


def test_fit_with_sanity_check_validation_and_checkpoint(tmp_path: Path) -> None:
    recording = Recording(
        tmp_path,
        callbacks=[ModelCheckpoint()],
        enable_checkpointing=True,
        limit_train_batches=2,
        limit_val_batches=1,
        num_sanity_val_steps=1,
    )
    assert_same(recording.fit(), saved_before_checkpoints(saved_at_flushes(GOLDEN["fit"])))


def test_accumulation_with_clipping(tmp_path: Path) -> None:
    recording = Recording(
        tmp_path, limit_train_batches=3, limit_val_batches=0, accumulate_grad_batches=2, gradient_clip_val=1
    )
    assert_same(recording.fit(), saved_at_flushes(GOLDEN["accumulation"]))


def test_manual_optimization(tmp_path: Path) -> None:
    recording = Recording(tmp_path, RecordedManualModule, limit_train_batches=1, limit_val_batches=0)
    assert_same(recording.fit(), saved_each_epoch(GOLDEN["manual optimization"]))


def test_validation_after_every_batch(tmp_path: Path) -> None:
    recording = Recording(tmp_path, limit_train_batches=2, limit_val_batches=1, val_check_interval=1)
    assert_same(recording.fit(), saved_at_flushes(GOLDEN["val_check_interval=1"]))


def test_two_epochs(tmp_path: Path) -> None:
    recording = Recording(tmp_path, max_epochs=2, limit_train_batches=1, limit_val_batches=1)
    assert_same(recording.fit(), saved_at_flushes(GOLDEN["two epochs"]))


def test_training_step_that_raises(tmp_path: Path) -> None:
    recording = Recording(tmp_path, FailingModule, limit_train_batches=1, limit_val_batches=0)
    with pytest.raises(ValueError, match="broken step"):
        recording.fit()
    assert_same(recording.trace, torn_down_after_exception(GOLDEN["exception"]))


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_one_batch_of(stage: str, tmp_path: Path) -> None:
    limits = {f"limit_{name}_batches": 1 for name in ("val", "test", "predict")}
    recording = Recording(tmp_path, **limits)
    getattr(recording.trainer, stage)(recording.module, datamodule=recording.data)
    assert_same(recording.trace, GOLDEN[stage])


def fitted(root: Path) -> Recording:
    recording = Recording(root, limit_train_batches=1, limit_val_batches=0)
    recording.fit()
    recording.trace.clear()
    return recording


def test_saving_a_checkpoint(tmp_path: Path) -> None:
    recording = fitted(tmp_path)
    recording.trainer.save_checkpoint(tmp_path / "whole.ckpt")
    assert_same(recording.trace, saved_before_checkpoints(GOLDEN["save_checkpoint"]))


def test_saving_weights_only(tmp_path: Path) -> None:
    recording = fitted(tmp_path)
    recording.trainer.save_checkpoint(tmp_path / "weights.ckpt", weights_only=True)
    assert_same(recording.trace, saved_before_checkpoints(GOLDEN["save weights only"]))


def test_fitting_from_a_checkpoint_loads_weights_before_optimizers_exist(tmp_path: Path) -> None:
    fitted(tmp_path).trainer.save_checkpoint(tmp_path / "whole.ckpt")
    recording = Recording(tmp_path, max_epochs=2, limit_train_batches=1, limit_val_batches=0)
    prologue = GOLDEN["fit from a checkpoint, prologue"]
    assert_same(recording.fit(ckpt_path=tmp_path / "whole.ckpt")[: len(prologue)], prologue)


def test_validating_from_a_checkpoint(tmp_path: Path) -> None:
    fitted(tmp_path).trainer.save_checkpoint(tmp_path / "weights.ckpt", weights_only=True)
    recording = Recording(tmp_path, limit_val_batches=0)
    recording.trainer.validate(recording.module, datamodule=recording.data, ckpt_path=tmp_path / "weights.ckpt")
    assert_same(recording.trace, callbacks_hear_of_any_file(GOLDEN["validate from a checkpoint"]))


def test_every_golden_trace_is_compared() -> None:
    source = Path(__file__).read_text()
    staged = {"validate", "test", "predict"}
    assert {name for name in GOLDEN if f'GOLDEN["{name}"]' not in source} == staged
