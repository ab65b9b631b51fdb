from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Heard, ManualNet, Net, fit, rows
from torch.optim import SGD
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau, StepLR

from lt_interfaces.errors import MisconfigurationException


class Scheduled(Net):
    """Has one scheduler with these settings; remembers where it's stepped: (epoch, batches of it, steps, metric)."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.settings = settings
        self.stepped: list[tuple[int, int, int, Any]] = []
        self.batches = 0

    def scheduler(self, optimizer: SGD) -> Any:
        return StepLR(optimizer, step_size=1, gamma=0.5)

    def configure_optimizers(self) -> Any:
        optimizer = SGD(self.parameters(), lr=1.0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.scheduler(optimizer), **self.settings}}

    def on_train_epoch_start(self) -> None:
        self.batches = 0

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.batches += 1

    def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
        self.stepped.append((self.current_epoch, self.batches, self.global_step, metric))
        super().lr_scheduler_step(scheduler, metric)

    @property
    def places(self) -> list[tuple[int, int]]:
        return [part[:2] for part in self.stepped]


class Watching(Scheduled):
    """Its scheduler watches a metric that it logs."""

    def scheduler(self, optimizer: SGD) -> Any:
        return ReduceLROnPlateau(optimizer, patience=0)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.log("loss", loss.detach() * 0 + batch_idx)
        self.log("epoch_value", 7.0 + self.current_epoch, on_step=False, on_epoch=True)
        return loss


# --- when ---


@pytest.mark.parametrize(
    ("settings", "places"),
    [
        ({}, [(0, 4), (1, 4)]),
        ({"interval": "epoch", "frequency": 2}, [(1, 4)]),
        ({"interval": "step"}, [(0, 1), (0, 2), (0, 3), (0, 4), (1, 1), (1, 2), (1, 3), (1, 4)]),
    ],
)
def test_scheduler_is_stepped_per_epoch_or_per_step(
    settings: dict[str, Any], places: list[tuple[int, int]], tmp_path: Path
) -> None:
    net = Scheduled(**settings)
    fit(tmp_path, net, max_epochs=2)
    assert net.places == places


def test_frequency_counts_optimizer_steps_over_epochs(tmp_path: Path) -> None:
    net = Scheduled(interval="step", frequency=3)
    fit(tmp_path, net, max_epochs=2)
    assert [part[2] for part in net.stepped] == [3, 6]


def test_accumulated_batches_count_once(tmp_path: Path) -> None:
    net = Scheduled(interval="step", frequency=2)
    fit(tmp_path, net, data=rows(10), accumulate_grad_batches=2)
    assert net.places == [(0, 4), (0, 8)]


def test_step_scheduler_moves_only_with_an_optimizer_step(tmp_path: Path) -> None:
    class EverySecond(Scheduled):
        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
            if batch_idx % 2 == 1:
                optimizer.step(closure=optimizer_closure)
            else:
                optimizer_closure()

    net = EverySecond(interval="step")
    fit(tmp_path, net)
    assert [part[2] for part in net.stepped] == [1, 2]


@pytest.mark.filterwarnings("ignore:`training_step` returned None")
def test_skipped_batch_moves_no_step_scheduler(tmp_path: Path) -> None:
    class Skips(Scheduled):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.loss(batch) if batch_idx > 1 else None

    net = Skips(interval="step")
    fit(tmp_path, net)
    assert net.places == [(0, 3), (0, 4)]


def test_learning_rate_is_new_when_the_batch_ends(tmp_path: Path) -> None:
    rates: list[float] = []

    class Looks(Heard):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    fit(tmp_path, Scheduled(), Looks(), max_epochs=2)
    assert rates == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25]


def test_manual_optimization_steps_no_scheduler(tmp_path: Path) -> None:
    class Manual(ManualNet):
        def configure_optimizers(self) -> Any:
            optimizer = SGD(self.parameters(), lr=1.0)
            return [optimizer], [StepLR(optimizer, 1), {"scheduler": StepLR(optimizer, 1), "interval": "step"}]

    net = Manual()
    trainer = fit(tmp_path, net, max_epochs=2)
    assert trainer.optimizers[0].param_groups[0]["lr"] == 1.0
    assert len(net.lr_schedulers()) == 2


# --- forms ---


def _pair(optimizer: SGD) -> Any:
    return [optimizer], [StepLR(optimizer, 1)]


def _pair_of_one(optimizer: SGD) -> Any:
    return [optimizer], StepLR(optimizer, 1)


def _settings_in_a_pair(optimizer: SGD) -> Any:
    return [optimizer], [{"scheduler": StepLR(optimizer, 1), "name": "mine"}]


def _bare_in_a_dict(optimizer: SGD) -> Any:
    return {"optimizer": optimizer, "lr_scheduler": StepLR(optimizer, 1)}


def _list_of_dicts(optimizer: SGD) -> Any:
    return [{"optimizer": optimizer, "lr_scheduler": {"scheduler": StepLR(optimizer, 1)}}]


@pytest.mark.parametrize("form", [_pair, _pair_of_one, _settings_in_a_pair, _bare_in_a_dict, _list_of_dicts])
def test_scheduler_of_every_form_is_stepped(form: Any, tmp_path: Path) -> None:
    class Formed(Net):
        def configure_optimizers(self) -> Any:
            return form(SGD(self.parameters(), lr=1.0))

    trainer = fit(tmp_path, Formed(), max_epochs=2)
    assert trainer.lr_scheduler_configs[0].scheduler.last_epoch == 2
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.01)


def test_scheduler_of_a_stranger_is_stepped_by_the_module(tmp_path: Path) -> None:
    class Counter:
        count = 0

        def state_dict(self) -> dict[str, Any]:
            return {}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            pass

    counter = Counter()

    class Own(Net):
        def configure_optimizers(self) -> Any:
            return [SGD(self.parameters(), lr=1.0)], [counter]

        def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
            scheduler.count += 1

    fit(tmp_path, Own(), max_epochs=3)
    assert counter.count == 3


def test_several_schedulers_of_one_optimizer_are_all_stepped(tmp_path: Path) -> None:
    class Both(Scheduled):
        def configure_optimizers(self) -> Any:
            optimizer = SGD(self.parameters(), lr=1.0)
            return [optimizer], [StepLR(optimizer, 1), {"scheduler": StepLR(optimizer, 1), "interval": "step"}]

    net = Both()
    fit(tmp_path, net)
    assert net.places == [(0, 1), (0, 2), (0, 3), (0, 4), (0, 4)]


# --- schedulers that watch a metric ---


def test_plateau_gets_the_value_of_the_epoch(tmp_path: Path) -> None:
    net = Watching(monitor="epoch_value")
    fit(tmp_path, net, max_epochs=2)
    assert [(*part[:2], part[3].item()) for part in net.stepped] == [(0, 4, 7.0), (1, 4, 8.0)]


def test_plateau_waits_for_the_end_of_the_epoch_hooks(tmp_path: Path) -> None:
    order: list[str] = []

    class Ordered(Watching):
        def on_train_epoch_end(self) -> None:
            order.append("epoch end")

        def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
            order.append("scheduler")

    fit(tmp_path, Ordered(monitor="epoch_value"))
    assert order == ["epoch end", "scheduler"]


def test_monitor_beside_the_scheduler_counts(tmp_path: Path) -> None:
    class Beside(Watching):
        def configure_optimizers(self) -> Any:
            optimizer = SGD(self.parameters(), lr=1.0)
            return {"optimizer": optimizer, "lr_scheduler": self.scheduler(optimizer), "monitor": "epoch_value"}

    net = Beside()
    fit(tmp_path, net)
    assert len(net.stepped) == 1


def test_plateau_per_step_gets_the_value_of_the_step(tmp_path: Path) -> None:
    net = Watching(monitor="loss", interval="step")
    fit(tmp_path, net)
    assert [part[3].item() for part in net.stepped] == [0.0, 1.0, 2.0, 3.0]


def test_plateau_per_step_moves_only_with_an_optimizer_step(tmp_path: Path) -> None:
    net = Watching(monitor="loss", interval="step")
    fit(tmp_path, net, accumulate_grad_batches=2)
    assert net.places == [(0, 2), (0, 4)]


def test_plateau_per_step_comes_after_validation(tmp_path: Path) -> None:
    net = Watching(monitor="val_loss", interval="step", frequency=2)
    fit(tmp_path, net, val_dataloaders=rows(1), val_check_interval=2, num_sanity_val_steps=0)
    assert net.places == [(0, 2), (0, 4)]


def test_missing_metric_is_an_error_that_names_it_and_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match=r"ReduceLROnPlateau watches.*'gone'.*'epoch_value'"):
        fit(tmp_path, Watching(monitor="gone"))


def test_missing_metric_skips_when_not_strict(tmp_path: Path) -> None:
    net = Watching(monitor="gone", strict=False)
    with pytest.warns(RuntimeWarning, match="The scheduler isn't stepped"):
        fit(tmp_path, net)
    assert net.stepped == []


def test_any_scheduler_may_watch_a_metric(tmp_path: Path) -> None:
    class Takes(LRScheduler):
        def get_lr(self) -> list[float]:
            return [group["lr"] for group in self.optimizer.param_groups]

    class Own(Watching):
        def scheduler(self, optimizer: SGD) -> Any:
            return Takes(optimizer)

        def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
            self.stepped.append((0, 0, 0, metric))

    net = Own(monitor="epoch_value", reduce_on_plateau=True)
    fit(tmp_path, net)
    assert [part[3] for part in net.stepped] == [torch.tensor(7.0)]
