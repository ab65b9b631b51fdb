"""Metric objects keep the epoch so far when a run is resumed in the middle of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Journal, Net, Saver, fit, rows
from torch import Tensor, nn
from torchmetrics import CatMetric, MeanMetric, Metric, MetricCollection, MinMetric
from torchmetrics.classification import BinaryAccuracy, BinaryPrecision, BinaryRecall

from lt_core.logging.metric_objects import (
    isolated_metrics,
    kept_metric_states,
    load_metric_states,
    metric_states,
    metrics_of,
)
from lt_interfaces.roles import Role


class SavesLast(Saver):
    """Saves after the module's own hook, as callbacks that write checkpoints do, and never in the sanity check."""

    role = Role.CHECKPOINT
    best_model_path = last_model_path = ""
    dirpath = None

    def _hear(self, trainer: Any, *args: Any) -> None:
        if not trainer.sanity_checking:
            super()._hear(trainer, *args)


class Mean:
    """A metric object that somebody wrote by hand; what it holds is changed in place."""

    def __init__(self) -> None:
        self.total = torch.zeros(())
        self.weights: list[int] = []

    def update(self, value: Tensor) -> None:
        self.total += value.detach()
        self.weights.append(1)

    def compute(self) -> Tensor:
        return self.total / sum(self.weights)

    def reset(self) -> None:
        self.total.zero_()
        self.weights.clear()

    def state_dict(self) -> dict[str, Any]:
        return {"total": self.total, "weights": self.weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.total = state["total"]
        self.weights[:] = state["weights"]


class Forgetful:
    """One that can't be saved."""

    def __init__(self) -> None:
        self.largest = 0.0

    def update(self, value: Tensor) -> None:
        self.largest = max(self.largest, value.item())

    def compute(self) -> float:
        return self.largest

    def reset(self) -> None:
        self.largest = 0.0


class Spread(CatMetric):
    """Its epoch value needs every item, so it shows the order and count of what was kept."""

    def compute(self) -> Tensor:
        values = super().compute()
        return (values * torch.arange(1, len(values) + 1)).sum()


class Measured(Net):
    """Keeps the usual kinds of metrics, and logs them in the usual ways."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = MeanMetric()
        self.accuracy = BinaryAccuracy()
        self.all = MetricCollection([BinaryPrecision(), BinaryRecall()])
        self.spread = Spread()
        self.quiet = MeanMetric()
        self.hand = Mean()
        self.rate = torch.nn.Dropout(0.5)

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        loss = self.loss(self.rate(batch))
        guess, target = self.layer(batch).flatten(), (batch[:, 0] > 0).int()
        self.mean(loss)
        self.log("mean", self.mean, on_step=True, on_epoch=True)
        self.accuracy(guess, target)
        self.log("accuracy", self.accuracy, on_step=False, on_epoch=True)
        self.all.update(guess, target)
        self.log_dict(self.all, on_step=False, on_epoch=True)
        self.spread.update(guess)
        self.log("spread", self.spread, on_step=False, on_epoch=True)
        self.hand.update(loss)
        self.log("hand", self.hand, on_step=False, on_epoch=True)
        self.quiet.update(loss)
        return loss

    def on_train_epoch_end(self) -> None:
        self.log("quiet", self.quiet)


NAMES = {"mean_epoch", "accuracy", "BinaryPrecision", "BinaryRecall", "spread", "hand", "quiet"}


class MeasuredInValidation(Measured):
    def __init__(self) -> None:
        super().__init__()
        self.val_mean = MeanMetric()
        self.val_hand = Mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        loss = self.loss(batch)
        self.val_mean.update(loss)
        self.val_hand.update(loss)
        self.log("val_hand", self.val_hand)

    def on_validation_epoch_end(self) -> None:
        self.log("val_mean", self.val_mean)


def train(root: Path, module: Net, *callbacks: Any, **arguments: Any) -> list[Any]:
    """Fit for two epochs of five batches; returns what the loggers got."""
    torch.manual_seed(1)
    journal = Journal()
    saves = any(isinstance(callback, SavesLast) for callback in callbacks)
    arguments = {"max_epochs": 2, "logger": journal, "enable_checkpointing": saves, **arguments}
    fit(root, module, *callbacks, data=rows(5, shuffle=True), **arguments)
    return journal.sent


def resume(root: Path, module: Net, **arguments: Any) -> list[Any]:
    return train(root, module, ckpt_path=root / "x.ckpt", **arguments)


# --- resumed runs ---


@pytest.mark.parametrize(("log_every_n_steps", "kept"), [(1, False), (2, False), (2, True)])
@pytest.mark.parametrize(
    ("hook", "nth"), [*(("on_train_batch_end", nth) for nth in (1, 4, 5, 9)), ("on_train_epoch_end", 1)]
)
def test_epoch_values_of_metric_objects_are_those_of_the_uninterrupted_run(
    hook: str, nth: int, log_every_n_steps: int, kept: bool, tmp_path: Path
) -> None:
    def module() -> Measured:
        made = Measured()
        made.mean.persistent(kept)
        made.all.persistent(kept)
        return made

    arguments = {"log_every_n_steps": log_every_n_steps}
    whole = train(tmp_path, module(), SavesLast(tmp_path / "x.ckpt", hook, nth), **arguments)
    resumed = resume(tmp_path, module(), **arguments)
    assert set().union(*(metrics for _, metrics in whole)) >= NAMES
    assert resumed == whole[-len(resumed) :]


def test_a_module_that_was_used_before_is_resumed_like_a_new_one(tmp_path: Path) -> None:
    module = Measured()
    whole = train(tmp_path, module, Saver(tmp_path / "x.ckpt", "on_train_batch_end", 3))
    for metric in metrics_of(module).values():
        if isinstance(metric, Metric):
            metric.update(*[torch.ones(2)] * (2 if "Binary" in type(metric).__name__ else 1))
    resumed = resume(tmp_path, module)
    assert resumed == whole[-len(resumed) :]


@pytest.mark.parametrize("hook", ["on_validation_batch_end", "on_validation_epoch_end", "on_validation_end"])
@pytest.mark.parametrize("num_sanity_val_steps", [0, 2])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_validation_that_a_save_interrupted_counts_no_batch_twice(
    hook: str, nth: int, num_sanity_val_steps: int, tmp_path: Path
) -> None:
    arguments = {
        "val_dataloaders": rows(2, seed=3),
        "num_sanity_val_steps": num_sanity_val_steps,
        "val_check_interval": 2,
    }
    whole = train(tmp_path, MeasuredInValidation(), SavesLast(tmp_path / "x.ckpt", hook, nth), **arguments)
    resumed = resume(tmp_path, MeasuredInValidation(), **arguments)
    assert {"val_mean", "val_hand"} <= set().union(*(metrics for _, metrics in whole))
    assert resumed == whole[-len(resumed) :]


def test_sanity_check_leaves_metrics_alone(tmp_path: Path) -> None:
    class Shares(Net):
        """Counts its batches, of training and of validation, and logs at the end of training."""

        def __init__(self) -> None:
            super().__init__()
            self.mean = MeanMetric()

        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            self.mean.update(float(batch_idx))
            return self.loss(batch)

        def validation_step(self, batch: Tensor, batch_idx: int) -> None:
            self.mean.update(100.0)
            self.log("val", self.mean)

    module = Shares()
    module.mean.update(7.0)
    seen: list[float] = []

    class Sees(Saver):
        def on_sanity_check_end(self, trainer: Any, pl_module: Any) -> None:
            seen.append(module.mean.update_count)

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            seen.append(module.mean.compute().item())

    train(tmp_path, module, Sees(tmp_path / "x.ckpt", "on_train_batch_end"), val_dataloaders=rows(2))
    assert seen == [0, 7.0]


class WithForgetful(Net):
    def __init__(self) -> None:
        super().__init__()
        self.largest = Forgetful()

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        self.largest.update(torch.tensor(10.0 - batch_idx))
        self.log("largest", self.largest, on_step=False, on_epoch=True)
        return self.loss(batch)


def test_a_metric_that_cannot_be_saved_is_named_and_gives_what_came_after(tmp_path: Path) -> None:
    train(tmp_path, WithForgetful(), Saver(tmp_path / "x.ckpt", "on_train_batch_end", 3))
    with pytest.warns(UserWarning, match=r"metrics \['largest'\] were logged in the epoch.*`load_state_dict`"):
        resumed = resume(tmp_path, WithForgetful())
    assert [metrics["largest"] for _, metrics in resumed if "largest" in metrics] == [7.0, 10.0]


def test_a_metric_that_cannot_be_saved_is_no_matter_between_epochs(tmp_path: Path) -> None:
    whole = train(tmp_path, WithForgetful(), Saver(tmp_path / "x.ckpt", "on_train_epoch_start", 2))
    resumed = resume(tmp_path, WithForgetful())
    assert resumed == whole[-len(resumed) :]


def test_the_state_of_a_metric_that_is_gone_is_named(tmp_path: Path) -> None:
    train(tmp_path, Measured(), Saver(tmp_path / "x.ckpt", "on_train_batch_end", 3))
    with pytest.warns(UserWarning, match="metric spread"):
        resume(tmp_path, Net())


def test_a_file_without_states_of_metrics_still_loads(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    train(tmp_path, Measured(), Saver(path, "on_train_batch_end", 3))
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["lt"]["metrics"]
    for entry in checkpoint["lt"]["results"]["slots"]:
        if "metric" in entry:
            del entry["metric"]
            entry["rule"] = None
    torch.save(checkpoint, path)
    assert any("mean_epoch" in metrics for _, metrics in resume(tmp_path, Measured()))


# --- where metrics are ---


def test_metrics_are_found_once_in_submodules_attributes_lists_and_dicts() -> None:
    module = Measured()
    module.alias = module.hand
    module.kind = MeanMetric  # a class isn't an object
    module.by_name = {"a": Mean()}
    module.listed = [Mean(), 3]
    module.losses = [0.5, Mean()]  # looked at only as far as the first
    inner = nn.Module()
    inner.mean = MeanMetric()
    module.inner = inner
    found = metrics_of(module)
    assert {path: found[path] for path in ("mean", "all.BinaryRecall", "inner.mean", "hand", "by_name.a", "listed.0")}
    assert set(found) == {
        *("mean", "accuracy", "all", "all.BinaryPrecision", "all.BinaryRecall", "spread", "quiet", "inner.mean"),
        *("hand", "by_name.a", "listed.0"),
    }


def test_a_module_that_looks_like_a_metric_is_not_its_own() -> None:
    assert metrics_of(MeanMetric()) == {}


# --- what metrics hold ---


def test_only_metrics_that_hold_something_have_a_state() -> None:
    module = Measured()
    assert set(metric_states(metrics_of(module))) == {"all", "hand"}  # those with a `state_dict` decide by themselves
    module.spread.update(torch.ones(3))
    assert set(metric_states(metrics_of(module))) == {"all", "hand", "spread"}


def test_a_metric_goes_on_with_the_number_of_its_updates() -> None:
    metric, again = MeanMetric(), MeanMetric()
    for value in (1.0, 2.0):
        metric(value)
    states = metric_states({"m": metric})
    again.update(9.0)
    again.compute()
    assert load_metric_states({"m": again}, states) == []
    assert again.compute() == 1.5
    assert again.update_count == 2
    assert again._forward_cache == 2.0
    again.update(6.0)
    assert again.compute() == 3.0


def test_metrics_without_a_state_begin_anew_and_parts_of_them_keep_theirs() -> None:
    module = nn.Module()
    module.part = MeanMetric()
    module.composed = module.part + 1
    module.fresh = MeanMetric()
    module.part.update(4.0)
    states = metric_states(metrics_of(module))
    module.fresh.update(1.0)
    assert load_metric_states(metrics_of(module), states) == []
    assert module.part.compute().item() == 4.0
    assert module.fresh.update_count == 0


def test_state_of_another_kind_of_metric_is_not_taken() -> None:
    mean, least, hand = MeanMetric(), MinMetric(), Mean()
    mean.update(1.0)
    least.update(1.0)
    assert load_metric_states({"m": least}, metric_states({"m": mean})) == ["m"]
    assert least.update_count == 0
    assert load_metric_states({"m": hand}, metric_states({"m": mean})) == ["m"]
    assert load_metric_states({"m": mean}, metric_states({"m": hand})) == ["m"]


def test_states_move_to_the_device_of_the_metric() -> None:
    metric, spread = MeanMetric(), CatMetric(compute_on_cpu=True)
    metric(1.0)
    spread.update(torch.ones(2))
    states = metric_states({"mean": metric, "spread": spread})
    elsewhere = {"mean": MeanMetric().to("meta"), "spread": CatMetric(compute_on_cpu=True).to("meta")}
    load_metric_states(elsewhere, states)
    assert elsewhere["mean"].mean_value.device.type == "meta"
    assert elsewhere["mean"]._forward_cache.device.type == "meta"
    assert elsewhere["spread"].value[0].device.type == "cpu"


def test_kept_states_are_left_alone_by_later_updates() -> None:
    module = Measured()
    for metric in (module.mean, module.spread, module.hand):
        metric.update(torch.tensor(1.0))
    with isolated_metrics(module):
        before = kept_metric_states(module)
        for metric in (module.mean, module.spread, module.hand):
            metric.update(torch.tensor(5.0))
        module.mean.mean_value.add_(1.0)
    assert [metric.compute().item() for metric in (module.mean, module.spread, module.hand)] == [1.0, 1.0, 1.0]
    assert module.mean.update_count == 1
    assert before["hand"]["state_dict"] == {"total": torch.tensor(1.0), "weights": [1]}
