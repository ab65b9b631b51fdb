from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Net, fit, rows, trainer_with
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from lt_fabric.data import CombinedLoader
from lt_interfaces.callback import Callback
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.testing.data import RandomIterableDataset


class Trace(Callback):
    """Notes where it was trained and validated: (epoch, batch index)."""

    def __init__(self) -> None:
        self.trained: list[tuple[int, int]] = []
        self.validated: list[tuple[int, int]] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.trained.append((trainer.current_epoch, batch_idx))

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            self.validated.append(self.trained[-1])


# --- data ---


def test_limits_count_or_take_a_share(tmp_path: Path) -> None:
    for limit, batches in ((3, 3), (0.5, 2), (1, 1), (1.0, 4), (9, 4)):
        trainer = fit(tmp_path, Net(), limit_train_batches=limit)
        assert (trainer.num_training_batches, trainer.global_step) == (batches, batches)


def test_share_that_gives_no_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match="limit_train_batches"):
        fit(tmp_path, Net(), limit_train_batches=0.1)


@pytest.mark.parametrize(("limit", "batches"), [(1.0, 5), (3, 3), (9, 5)])
def test_data_without_length_is_read_to_its_end_or_limit(limit: Any, batches: int, tmp_path: Path) -> None:
    trace = Trace()
    loader = DataLoader(RandomIterableDataset(3, 10), batch_size=2)
    trainer = fit(tmp_path, Net(), trace, data=loader, val_dataloaders=rows(1), limit_train_batches=limit, max_epochs=2)
    assert trainer.global_step == 2 * batches
    assert trace.validated == [(0, batches - 1), (1, batches - 1)]


def test_share_of_data_without_length_is_refused(tmp_path: Path) -> None:
    loader = DataLoader(RandomIterableDataset(3, 10), batch_size=2)
    with pytest.raises(MisconfigurationException, match="limit_train_batches"):
        fit(tmp_path, Net(), data=loader, limit_train_batches=0.5)


def test_endless_data_ends_with_max_steps(tmp_path: Path) -> None:
    class Endless(IterableDataset[Tensor]):
        def __iter__(self) -> Any:
            while True:
                yield torch.ones(3)

    trainer = fit(tmp_path, Net(), data=DataLoader(Endless(), batch_size=2), max_steps=5)
    assert (trainer.global_step, trainer.current_epoch) == (5, 1)


class TakesAll(Net):
    """Trains on whatever structure comes."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.batches.append(batch)
        return self.layer.weight.sum()


def test_several_loaders_are_read_together_until_the_longest_ends(tmp_path: Path) -> None:
    net = TakesAll()
    trainer = fit(tmp_path, net, data={"a": rows(2), "b": [rows(3, seed=1)]})
    assert trainer.num_training_batches == len(net.batches) == 3
    first_of_a, third_of_b = next(iter(rows(2))), list(rows(3, seed=1))[2]
    assert torch.equal(net.batches[2]["a"], first_of_a)
    assert torch.equal(net.batches[2]["b"][0], third_of_b)


@pytest.mark.parametrize(("mode", "batches"), [("min_size", 2), ("max_size", 3), ("max_size_cycle", 3)])
def test_combined_loader_keeps_its_mode(mode: str, batches: int, tmp_path: Path) -> None:
    net = TakesAll()
    fit(tmp_path, net, data=CombinedLoader([rows(2), rows(3)], mode))  # type: ignore[arg-type]  # parametrized
    assert len(net.batches) == batches
    assert (net.batches[-1][0] is None) == (mode == "max_size")


def test_combined_loader_of_training_cannot_be_sequential(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sequential"):
        fit(tmp_path, TakesAll(), data=CombinedLoader([rows(2), rows(3)], "sequential"))


def test_batch_none_is_skipped_with_a_warning(tmp_path: Path) -> None:
    trace = Trace()
    with pytest.warns(UserWarning, match="None"):
        trainer = fit(tmp_path, Net(), trace, data=iter([next(iter(rows())), None]))
    assert trainer.global_step == 1


def test_loader_that_is_no_iterable_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="train_dataloaders"):
        fit(tmp_path, Net(), data=1)


def test_failure_of_a_loader_comes_out_unchanged(tmp_path: Path) -> None:
    def failing() -> Any:
        yield next(iter(rows()))
        message = "disk on fire"
        raise OSError(message)

    with pytest.raises(OSError, match="disk on fire"):
        fit(tmp_path, Net(), data=failing())


class Asked(Net):
    """Gives its own loaders and counts how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, int]] = []

    def train_dataloader(self) -> Any:
        self.asked.append(("train", self.current_epoch))
        return rows()

    def val_dataloader(self) -> Any:
        self.asked.append(("val", self.current_epoch))
        return rows(1)


@pytest.mark.parametrize(
    ("arguments", "train", "val"),
    [
        ({}, [0], [0]),
        ({"reload_dataloaders_every_n_epochs": 1}, [0, 1, 2, 3], [0, 1, 2, 3]),
        ({"reload_dataloaders_every_n_epochs": 2}, [0, 2], [0, 2]),
        ({"reload_dataloaders_every_n_epochs": 1, "check_val_every_n_epoch": 2}, [0, 1, 2, 3], [0, 1, 3]),
        ({"reload_dataloaders_every_n_epochs": 3, "num_sanity_val_steps": 0}, [0, 3], [0, 3]),
    ],
)
def test_loaders_are_asked_for_again_every_n_epochs(
    arguments: dict[str, Any], train: list[int], val: list[int], tmp_path: Path
) -> None:
    net = Asked()
    trainer_with(tmp_path, max_epochs=4, **arguments).fit(net)
    assert [epoch for stage, epoch in net.asked if stage == "train"] == train
    assert [epoch for stage, epoch in net.asked if stage == "val"] == val


class EpochSampler(torch.utils.data.Sampler[int]):
    """Draws its order as soon as it's started, as a loader with workers does."""

    epoch = 0

    def __init__(self) -> None:
        self.started: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Any:
        self.started.append(self.epoch)
        return iter(range(4))

    def __len__(self) -> int:
        return 4


@pytest.mark.parametrize("reload_every", [0, 1])
def test_sampler_knows_the_epoch_before_it_is_started(reload_every: int, tmp_path: Path) -> None:
    sampler = EpochSampler()
    loader = DataLoader(torch.randn(4, 3), sampler=sampler, batch_size=None)  # type: ignore[arg-type]
    trainer = trainer_with(tmp_path, max_epochs=2, limit_val_batches=0, reload_dataloaders_every_n_epochs=reload_every)
    trainer.fit(Net(), loader)
    trainer.fit_loop.max_epochs = 4
    trainer.fit(Net(), loader)
    assert sampler.started == [0, 1, 2, 3]


def test_last_batch_is_known_while_it_is_trained_on(tmp_path: Path) -> None:
    seen: list[bool] = []

    class Looks(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            seen.append(trainer.is_last_batch)

    fit(tmp_path, Net(), Looks(), data=rows(3))
    fit(tmp_path, Net(), Looks(), data=iter(list(rows(3))))
    assert seen == [False, False, True] * 2
