from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Batches, Net, fit, rows, trainer_with
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler

from lt_core.run.loaders import LoaderRules, LoaderSource, StageLoaders, TrainData
from lt_fabric.data import CombinedLoader
from lt_fabric.single_device import SingleDeviceStrategy
from lt_interfaces.errors import MisconfigurationException

STRATEGY = SingleDeviceStrategy("cpu")


def rules_of(stage: str, mode: str, **rules: Any) -> LoaderRules:
    free = {"limit": 1.0, "overfit": False, "use_distributed_sampler": True, "reload_every_n_epochs": 0}
    return LoaderRules(stage=stage, mode=mode, **{**free, "hands_over": False, **rules})


def loaders_of(passed: Any, *, stage: str = "val", **rules: Any) -> StageLoaders:
    mode = "max_size_cycle" if stage == "train" else "sequential"
    loaders = StageLoaders(LoaderSource(stage, passed, is_hook=False), rules_of(stage, mode, **rules))
    loaders.load(STRATEGY, 0)
    return loaders


# --- where loaders come from ---


class WithLoaders(Net):
    def train_dataloader(self) -> Any:
        return rows(1)

    def val_dataloader(self) -> Any:
        return rows(2)


def test_source_knows_whether_there_is_anything_to_ask() -> None:
    assert LoaderSource("val", WithLoaders(), is_hook=True).is_defined
    assert not LoaderSource("val", Net(), is_hook=True).is_defined
    assert LoaderSource("val", [], is_hook=False).is_defined
    assert not LoaderSource("val", None, is_hook=False).is_defined


@pytest.mark.parametrize(
    ("owner", "is_hook", "label"),
    [(WithLoaders(), True, "`WithLoaders.val_dataloader()`"), (rows(), False, "the `val_dataloaders` passed")],
)
def test_source_is_named_as_the_user_knows_it(owner: Any, is_hook: bool, label: str) -> None:
    assert LoaderSource("val", owner, is_hook=is_hook).label == label


# --- loading and counting ---


@pytest.mark.parametrize(
    ("passed", "counts"),
    [(rows(3), [3]), ([rows(3), rows(1)], [3, 1]), ({"a": rows(2), "b": [rows(1)]}, [2, 1]), ([], [])],
)
def test_batches_of_each_evaluation_loader_are_counted(passed: Any, counts: list[int]) -> None:
    loaders = loaders_of(passed)
    assert loaders.counts == counts
    assert loaders.total == sum(counts)
    assert loaders.raw is passed


def test_loader_without_length_counts_as_endless() -> None:
    loaders = loaders_of(iter([torch.ones(1)]), stage="train")
    assert loaders.counts == [float("inf")]
    assert not loaders.is_sized


def test_loader_that_gives_none_names_its_source() -> None:
    with pytest.raises(TypeError, match="`val_dataloaders` passed"):
        loaders_of([None])


@pytest.mark.parametrize("every", [0, 1, 3])
def test_loaders_grow_stale_after_n_epochs(every: int) -> None:
    loaders = loaders_of(rows(), reload_every_n_epochs=every)
    assert [loaders.is_stale(epoch) for epoch in range(4)] == [bool(every) and epoch >= every for epoch in range(4)]


def test_loaders_that_were_never_asked_for_are_stale() -> None:
    loaders = StageLoaders(LoaderSource("val", rows(), is_hook=False), rules_of("val", "sequential"))
    assert loaders.is_stale(0)
    assert not loaders.is_loaded


def test_last_step_is_marked() -> None:
    marks = [(index, loader, last) for _, index, loader, last in loaders_of([rows(2), rows(1)]).steps()]
    assert marks == [(0, 0, False), (1, 0, False), (0, 1, True)]


def test_steps_after_some_read_none_of_those() -> None:
    read: list[int] = []

    class Counting(torch.utils.data.Dataset[Tensor]):
        def __getitem__(self, index: int) -> Tensor:
            read.append(index)
            return torch.tensor(index)

        def __len__(self) -> int:
            return 6

    loaders = loaders_of(DataLoader(Counting(), batch_size=2), stage="train")
    steps = [(batch.tolist(), index, last) for batch, index, _, last in loaders.steps_after(2)]
    assert steps == [([4, 5], 2, True)]
    assert read == [4, 5]


def test_steps_after_some_of_several_loaders_go_on_together() -> None:
    loaders = loaders_of([rows(3), rows(2)], stage="train")
    steps = list(loaders.steps_after(1))
    assert [(index, last) for _, index, _, last in steps] == [(1, False), (2, True)]
    assert torch.equal(steps[0][0][0], list(rows(3))[1])


def test_epoch_order_is_drawn_again_from_the_saved_random_state() -> None:
    loader = rows(4, shuffle=True)
    data = TrainData(loaders_of(loader, stage="train"))
    data.start()
    epoch = [batch for batch, *_ in data.remaining_steps(0)]
    again = TrainData(loaders_of(loader, stage="train"))
    state = data.state_dict()
    torch.manual_seed(9)
    again.load_state_dict(state, state["epoch_rng"])
    assert again.is_resumed
    again.rewind_rng(2)
    rest = [batch for batch, *_ in again.remaining_steps(2)]
    assert all(torch.equal(one, other) for one, other in zip(rest, epoch[2:], strict=True))


# --- overfitting and combined loaders, with a real run ---


def test_overfitting_uses_the_same_batches_unshuffled_and_says_so(tmp_path: Path) -> None:
    seen: list[Tensor] = []

    class Sees(Net):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            seen.append(batch)
            return self.loss(batch)

    trainer = trainer_with(tmp_path, overfit_batches=2, max_epochs=2, num_sanity_val_steps=0)
    with pytest.warns(UserWarning, match="overfit_batches"):
        trainer.fit(Sees(), rows(4, shuffle=True), rows(4))
    assert (trainer.num_training_batches, trainer.num_val_batches) == (2, [2])
    first = list(rows(4))[:2]
    assert all(torch.equal(one, other) for one, other in zip(seen, first * 2, strict=True))


def test_overfitting_leaves_the_users_loader_as_it_was(tmp_path: Path) -> None:
    loader = rows(4, shuffle=True)
    with pytest.warns(UserWarning, match="overfit_batches"):
        fit(tmp_path, Net(), data=loader, overfit_batches=1, val_dataloaders=rows(1))
    assert isinstance(loader.sampler, RandomSampler)


def test_overfitting_does_not_limit_testing(tmp_path: Path) -> None:
    trainer = trainer_with(tmp_path, overfit_batches=1)
    trainer.test(Net(), rows(3), verbose=False)
    assert trainer.num_test_batches == [3]


def test_combined_loader_is_shown_as_it_was_given(tmp_path: Path) -> None:
    class Pairs(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.loss(batch[0])

    combined = CombinedLoader([rows(2), rows(2)], "min_size")
    assert fit(tmp_path, Pairs(), data=combined).train_dataloader is combined


def test_loader_that_is_only_iterable_is_enough(tmp_path: Path) -> None:
    trainer = fit(tmp_path, Net(), data=Batches(rows(3)))
    assert trainer.num_training_batches == 3


def test_one_process_needs_no_distributed_sampler(tmp_path: Path) -> None:
    loader = rows(2)
    trainer = fit(tmp_path, Net(), data=loader)
    assert trainer.train_dataloader is loader
    assert isinstance(loader.sampler, SequentialSampler)


def test_fit_without_training_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match="train_dataloaders"):
        trainer_with(tmp_path).fit(Net())
