from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Net, fit, rows, trainer_with
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lt_interfaces.callback import Callback
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.rng import seed_everything


class Looks(Callback):
    def __init__(self) -> None:
        self.counters: list[tuple[int, int]] = []

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.counters.append((trainer.global_step, trainer.current_epoch))


def test_second_fit_goes_on_counting(tmp_path: Path) -> None:
    looks = Looks()
    trainer = trainer_with(tmp_path, looks, limit_val_batches=0, max_epochs=2)
    trainer.fit(Net(), rows())
    trainer.fit_loop.max_epochs = 3
    trainer.fit(Net(), rows())
    assert looks.counters == [(0, 0), (4, 1), (8, 2)]
    assert (trainer.global_step, trainer.current_epoch) == (12, 3)


def test_second_fit_without_a_higher_limit_trains_nothing(tmp_path: Path) -> None:
    looks = Looks()
    trainer = trainer_with(tmp_path, looks, limit_val_batches=0)
    trainer.fit(Net(), rows())
    trainer.fit(Net(), rows())
    assert looks.counters == [(0, 0)]
    assert trainer.state.status == "finished"


def test_second_fit_may_have_another_module_and_other_data(tmp_path: Path) -> None:
    trainer = trainer_with(tmp_path, limit_val_batches=0)
    trainer.fit(Net(), rows(2))
    trainer.fit_loop.max_epochs = 2
    other = Net()
    before = other.weights
    trainer.fit(other, rows(3))
    assert trainer.global_step == 5
    assert trainer.lightning_module is other
    assert not bool((other.weights == before).all())


def test_evaluation_between_two_fits_changes_no_counter(tmp_path: Path) -> None:
    net, plain = Net(), Net()
    trainer = trainer_with(tmp_path, limit_val_batches=0)
    trainer.fit(net, rows())
    trainer.test(net, rows(2), verbose=False)
    assert (trainer.global_step, trainer.current_epoch) == (4, 1)
    trainer.fit_loop.max_epochs = 2
    trainer.fit(net, rows())
    fit(tmp_path, plain, max_epochs=2)
    assert bool((net.weights == plain.weights).all())


@pytest.mark.parametrize(
    ("arguments", "counts"),
    [({}, (4, [2])), ({"limit_train_batches": 3, "limit_val_batches": 1}, (3, [1])), ({"fast_dev_run": 2}, (2, [2]))],
)
def test_limits_are_those_of_each_stage(arguments: dict[str, Any], counts: tuple[Any, ...], tmp_path: Path) -> None:
    trainer = trainer_with(tmp_path, **arguments)
    trainer.fit(Net(), rows(4), rows(2))
    assert (trainer.num_training_batches, trainer.num_val_batches) == counts


# --- seeded items ---


class Noise(Dataset[Tensor]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Tensor:
        return torch.rand(3)


class Remembers(Net):
    """Keeps the batches of every stage, and how the training's generator stands when a fit ends."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, list[list[float]]] = {"train": [], "val": [], "test": []}

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.seen["train"] += batch.tolist()
        return self.loss(batch)

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.seen["val"] += batch.tolist()

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        self.seen["test"] += batch.tolist()

    def predict_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return batch


class WithData(Remembers):
    """Gives its own loaders, as a datamodule does."""

    seed_items: Any = False

    def train_dataloader(self) -> Any:
        return DataLoader(Noise(), batch_size=2)


def noise(num_workers: int = 0) -> DataLoader[Tensor]:
    return DataLoader(Noise(), batch_size=2, num_workers=num_workers)


def test_seeded_items_are_the_same_in_every_stage_and_for_any_number_of_workers(tmp_path: Path) -> None:
    nets = [Remembers(), Remembers()]
    for num_workers, net in enumerate(nets):
        trainer = trainer_with(tmp_path, seed_items=7, max_epochs=2, num_sanity_val_steps=0)
        trainer.fit(net, noise(num_workers), noise(num_workers))
        trainer.test(net, noise(num_workers), verbose=False)
        predicted = torch.cat(trainer.predict(net, noise(num_workers)) or [])
        assert predicted.tolist() == net.seen["test"]
    assert nets[0].seen == nets[1].seen
    assert nets[0].seen["train"] == nets[0].seen["val"]
    assert len({tuple(row) for row in nets[0].seen["train"]}) == 2 * 4


def test_items_are_seeded_only_where_that_was_asked_for(tmp_path: Path) -> None:
    net = Remembers()
    for _ in range(2):
        trainer_with(tmp_path, limit_val_batches=0).fit(net, noise())
    assert net.seen["train"][:4] != net.seen["train"][4:]


def test_the_seed_of_the_run_seeds_its_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    named, net = Remembers(), Remembers()
    trainer_with(tmp_path, limit_val_batches=0, seed_items=11).fit(named, noise())
    with pytest.raises(MisconfigurationException, match="`seed_everything`"):
        trainer_with(tmp_path, limit_val_batches=0, seed_items=True).fit(net, noise())
    seed_everything(11, verbose=False)
    trainer_with(tmp_path, limit_val_batches=0, seed_items=True).fit(net, noise())
    assert net.seen == named.seen


@pytest.mark.parametrize(("own", "argument", "seeds"), [(7, None, 7), (7, 8, 8), (7, False, None), (False, 7, 7)])
def test_a_datamodule_may_ask_for_seeded_items_and_the_trainers_argument_wins(
    tmp_path: Path, own: Any, argument: Any, seeds: int | None
) -> None:
    net, expected = WithData(), Remembers()
    net.seed_items = own
    trainer_with(tmp_path, limit_val_batches=0, seed_items=argument).fit(net)
    trainer_with(tmp_path, limit_val_batches=0, seed_items=seeds or 7).fit(expected, noise())
    assert (net.seen == expected.seen) == (seeds is not None)


def test_a_datamodules_wrong_seed_is_named(tmp_path: Path) -> None:
    net = WithData()
    net.seed_items = "yes"
    with pytest.raises(TypeError, match="`seed_items` must be True"):
        trainer_with(tmp_path, limit_val_batches=0).fit(net)
