"""`self.log` in every hook of real runs: where it's taken and where it's refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Net, fit, rows, trainer_with
from torch import nn

from lt_core import LightningModule
from lt_interfaces.callback import Callback
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.hooks import HOOKS, Hearer

TAKEN = {
    *("training_step", "on_train_batch_start", "on_train_batch_end", "on_before_backward", "backward"),
    *("on_after_backward", "on_before_optimizer_step", "optimizer_step", "configure_gradient_clipping"),
    *("on_before_zero_grad", "optimizer_zero_grad", "on_train_start", "on_validation_start", "on_test_start"),
    *(f"{stage}_step" for stage in ("validation", "test")),
    *(f"on_{stage}_batch_{end}" for stage in ("validation", "test") for end in ("start", "end")),
    *(f"on_{stage}_epoch_{end}" for stage in ("train", "validation", "test") for end in ("start", "end")),
}
NOT_CALLED_HERE = {"on_exception", "on_load_checkpoint"}

Outcomes = dict[str, str]


def attempt(module: LightningModule, hook: str, outcomes: Outcomes) -> None:
    """Log in a hook, and note whether that was taken or which error came."""
    try:
        module.log(f"in_{hook}", 1.0, batch_size=1)
        outcomes[hook] = "taken"
    except MisconfigurationException:
        outcomes[hook] = "refused"


class Everywhere(Net):
    """Logs in each of its hooks."""

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: Outcomes = {}

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        scheduler.step()

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]

    def clip_gradients(self, *args: Any, **kwargs: Any) -> None:
        attempt(self, "clip_gradients", self.outcomes)
        super().clip_gradients(*args, **kwargs)

    def train_dataloader(self) -> Any:
        return rows()

    def val_dataloader(self) -> Any:
        return rows(1)

    def test_dataloader(self) -> Any:
        return rows(1)

    def predict_dataloader(self) -> Any:
        return rows(1)


def logging_method(name: str, base: type[LightningModule]) -> Callable[..., Any]:
    original = getattr(base, name)

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        attempt(self, name, self.outcomes)
        return original(self, *args, **kwargs)

    return method


MODULE_HOOKS = [hook.name for hook in HOOKS if Hearer.MODULE in hook.heard_by]
for _name in MODULE_HOOKS:
    setattr(Everywhere, _name, logging_method(_name, Everywhere))


class CallbackEverywhere(Callback):
    """Logs in each of its hooks, through the module."""

    def __init__(self) -> None:
        self.outcomes: Outcomes = {}


def _callback_method(name: str) -> Callable[..., Any]:
    def method(self: Any, trainer: Any, module: Any, *args: Any) -> None:
        attempt(module, name, self.outcomes)

    return method


CALLBACK_HOOKS = [hook.name for hook in HOOKS if Hearer.CALLBACK in hook.heard_by]
for _name in CALLBACK_HOOKS:
    setattr(CallbackEverywhere, _name, _callback_method(_name))


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcomes, Outcomes]:
    """What came of it in the module's and in the callback's hooks."""
    root = tmp_path_factory.mktemp("run")
    module, callback = Everywhere(), CallbackEverywhere()
    trainer = trainer_with(root, callback, gradient_clip_val=1.0)
    trainer.fit(module)
    trainer.save_checkpoint(root / "saved.ckpt")
    trainer.test(module, verbose=False)
    trainer.predict(module)
    return module.outcomes, callback.outcomes


@pytest.mark.parametrize("hook", [*MODULE_HOOKS, "clip_gradients"])
def test_module_logs_where_the_table_allows_it(hook: str, outcomes: tuple[Outcomes, Outcomes]) -> None:
    if hook in NOT_CALLED_HERE:
        assert hook not in outcomes[0]
        return
    expected = "taken" if hook in {*TAKEN, "clip_gradients"} else "refused"
    assert outcomes[0].get(hook) == expected


@pytest.mark.parametrize("hook", CALLBACK_HOOKS)
def test_callbacks_log_where_the_table_allows_it(hook: str, outcomes: tuple[Outcomes, Outcomes]) -> None:
    if hook in NOT_CALLED_HERE:
        assert hook not in outcomes[1]
        return
    assert outcomes[1].get(hook) == ("taken" if hook in TAKEN else "refused")


def test_callbacks_log_by_themselves(tmp_path: Path) -> None:
    class Counts(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.log("count", float(batch_idx))  # type: ignore[attr-defined]  # bound when the run starts
            self.log_dict({"twice": 2.0 * batch_idx})  # type: ignore[attr-defined]

    trainer = fit(tmp_path, Net(), Counts())
    assert trainer.callback_metrics["count"].item() == 3.0
    assert trainer.callback_metrics["twice"].item() == 6.0


def test_without_a_trainer_the_value_goes_nowhere_and_says_so() -> None:
    with pytest.warns(UserWarning, match="without a running Trainer"):
        Net().log("loss", 1.0)
    with pytest.warns(UserWarning, match="without a running Trainer"):
        Net().log_dict({"loss": 1.0})


class Logging(Net):
    """Logs what it's told in each training step."""

    def __init__(self, log: Callable[[LightningModule, int], None]) -> None:
        super().__init__()
        self.log_in_step = log

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log_in_step(self, batch_idx)
        return self.loss(batch)


@pytest.mark.parametrize(
    ("error", "match", "log"),
    [
        (ValueError, "tensor of shape", lambda module, _: module.log("x", torch.ones(3))),
        (ValueError, "but got str", lambda module, _: module.log("x", "high")),
        (ValueError, "log_dict", lambda module, _: module.log("x", {"y": 1.0})),
        (MisconfigurationException, "nothing", lambda module, _: module.log("x", 1.0, on_step=False, on_epoch=False)),
        (MisconfigurationException, "dataloader_idx", lambda module, _: module.log("x/dataloader_idx_1", 1.0)),
        (MisconfigurationException, "accepted are", lambda module, _: module.log("x", 1.0, reduce_fx="median")),
        (MisconfigurationException, "called twice", lambda module, idx: module.log("x", 1.0, prog_bar=idx == 1)),
    ],
)
def test_misuse_ends_the_run(
    error: type[Exception], match: str, log: Callable[[LightningModule, int], None], tmp_path: Path
) -> None:
    with pytest.raises(error, match=match):
        fit(tmp_path, Logging(log))


def test_log_dict_passes_its_arguments_on(tmp_path: Path) -> None:
    def log(module: LightningModule, idx: int) -> None:
        module.log_dict({"a": idx, "b": 2.0 * idx}, prog_bar=True, on_step=False, on_epoch=True, batch_size=1)

    trainer = fit(tmp_path, Logging(log))
    assert trainer.progress_bar_metrics == {"a": 1.5, "b": 3.0}


def test_child_modules_log_too(tmp_path: Path) -> None:
    class Child(LightningModule):
        def forward(self, x: Any) -> Any:
            self.log("inner", 1.0)
            return x

    class Parent(Net):
        def __init__(self) -> None:
            super().__init__()
            self.child = Child()

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.loss(self.child(batch))

    assert "inner" in fit(tmp_path, Parent()).callback_metrics


def test_values_that_keep_their_graph_can_be_differentiated(tmp_path: Path) -> None:
    class Kept(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.loss(batch)
            self.log("loss", loss, enable_graph=True)
            assert self.trainer.callback_metrics["loss"].requires_grad
            return loss

    fit(tmp_path, Kept())


def test_metric_objects_are_computed_and_reset_each_epoch(tmp_path: Path) -> None:
    torchmetrics = pytest.importorskip("torchmetrics")

    class Measured(Net):
        def __init__(self) -> None:
            super().__init__()
            self.mean = torchmetrics.MeanMetric()
            self.seen: list[float] = []

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.mean(float(batch_idx + self.current_epoch))
            self.log("mean", self.mean, on_step=True, on_epoch=True)
            return self.loss(batch)

        def on_train_epoch_end(self) -> None:
            self.seen.append(self.trainer.callback_metrics["mean"].item())

    module = Measured()
    trainer = fit(tmp_path, module, max_epochs=2)
    assert module.seen == [1.5, 2.5]
    assert trainer.callback_metrics["mean_step"].item() == 4.0
    assert isinstance(module.mean, nn.Module)
    assert module.mean.update_count == 0


def test_metric_collections_are_logged_by_name(tmp_path: Path) -> None:
    torchmetrics = pytest.importorskip("torchmetrics")

    class Measured(Net):
        def __init__(self) -> None:
            super().__init__()
            self.both = torchmetrics.MetricCollection(
                {"mean": torchmetrics.MeanMetric(), "max": torchmetrics.MaxMetric()}
            )

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.both.update(float(batch_idx))
            self.log_dict(self.both, on_step=False, on_epoch=True)
            return self.loss(batch)

    trainer = fit(tmp_path, Measured())
    assert {name: value.item() for name, value in trainer.callback_metrics.items()} == {"mean": 1.5, "max": 3.0}
