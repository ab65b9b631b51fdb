from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Batches, Net, fit, rows, trainer_with
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, SequentialSampler

from lt_core.run.loaders import LoaderRules, LoaderSource, StageLoaders
from lt_core.run.train_data import TrainData
from lt_fabric.data import CombinedLoader
from lt_fabric.single_device import SingleDeviceStrategy
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.rng import capture_rng_state
from lt_interfaces.strategy import Capability

STRATEGY = SingleDeviceStrategy("cpu")


def rules_of(stage: str, mode: str, **rules: Any) -> LoaderRules:
    free = {"limit": 1.0, "overfit": False, "use_distributed_sampler": True, "reload_every_n_epochs": 0}
    return LoaderRules(stage=stage, mode=mode, **{**free, "seed_items": False, "hands_over": False, **rules})


def loaders_of(passed: Any, *, stage: str = "val", **rules: Any) -> StageLoaders:
    mode = "max_size_cycle" if stage == "train" else "sequential"
    loaders = StageLoaders(LoaderSource(stage, passed, is_hook=False), rules_of(stage, mode, **rules))
    loaders.load(STRATEGY, 0)
    return loaders


class SecondOfTwo(SingleDeviceStrategy):
    """Stands for one of two ranks."""

    distributed_sampler_kwargs = {"num_replicas": 2, "rank": 1}  # type: ignore[assignment]  # noqa: RUF012  # fixed


class Count(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(7))


def second_of_two(dataset: Any, *, stage: str, **options: Any) -> list[list[int]]:
    """Return the batches that the second of two ranks gets of a dataset, in batches of two."""
    loader: DataLoader[Any] = DataLoader(dataset, batch_size=2, **options)
    mode = "max_size_cycle" if stage == "train" else "sequential"
    loaders = StageLoaders(LoaderSource(stage, loader, is_hook=False), rules_of(stage, mode))
    loaders.load(SecondOfTwo("cpu"), 0)
    return [batch.tolist() for batch, *_ in loaders.steps()]


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


# --- shares of ranks ---

SHARING = pytest.mark.filterwarnings("ignore:The samples of `Count`")


@SHARING
@pytest.mark.parametrize("dataset", [range(7), Count()])
@pytest.mark.parametrize("stage", ["val", "test", "predict"])
def test_evaluation_gives_each_sample_to_one_rank(dataset: Any, stage: str) -> None:
    assert second_of_two(dataset, stage=stage) == [[1, 3], [5]]


@SHARING
def test_iterable_datasets_are_shared_out_for_training() -> None:
    assert second_of_two(Count(), stage="train") == [[1, 3], [5]]


@SHARING
@pytest.mark.parametrize("dataset", [range(7), Count()])
def test_ranks_drop_the_last_samples_that_one_process_drops(dataset: Any) -> None:
    assert second_of_two(dataset, stage="val", drop_last=True) == [[1, 3], [5]]


@SHARING
@pytest.mark.parametrize("dataset", [range(7), Count()])
def test_predicting_drops_no_sample(dataset: Any) -> None:
    assert second_of_two(dataset, stage="predict", drop_last=True) == [[1, 3], [5]]
    loaders = loaders_of(DataLoader(dataset, batch_size=2, drop_last=True), stage="predict")
    assert [len(batch) for batch, *_ in loaders.steps()] == [2, 2, 2, 1]


class Ranks(SingleDeviceStrategy):
    """Stands for the second of two ranks, of which the first has a loader of another length."""

    world_size = 2

    def __init__(self, length_of_first: int) -> None:
        super().__init__("cpu")
        self._length = length_of_first

    def all_gather(self, tensor: Tensor, **options: Any) -> Tensor:
        return torch.stack([torch.full_like(tensor, self._length), tensor])


@pytest.mark.parametrize(
    ("first", "own", "limit", "count", "everywhere"),
    [
        (2, 1, 0.5, 1, 1),  # a half of one batch would be none
        (2, 1, 1.0, 1, 1),
        (1, 0, 1.0, 0, 0),
        (5, 4, 3, 3, 3),
        (4, 4, 9, 4, 4),
    ],
)
def test_a_limit_allows_the_same_number_of_batches_on_every_rank(
    first: int, own: int, limit: int | float, count: int, everywhere: int
) -> None:
    source = LoaderSource("val", Batches([torch.zeros(1)] * own), is_hook=False)
    loaders = StageLoaders(source, rules_of("val", "sequential", limit=limit))
    loaders.load(Ranks(first), 0)
    assert (loaders.counts, loaders.everywhere) == ([count], [everywhere])


def test_a_fraction_that_leaves_no_rank_a_batch_is_refused() -> None:
    source = LoaderSource("val", Batches([torch.zeros(1)]), is_hook=False)
    loaders = StageLoaders(source, rules_of("val", "sequential", limit=0.25))
    with pytest.raises(MisconfigurationException, match=r"limit_val_batches=0\.25"):
        loaders.load(Ranks(2), 0)


def test_of_loaders_without_length_nobody_knows_what_all_ranks_have() -> None:
    unsized = iter([torch.zeros(1)])
    loaders = StageLoaders(LoaderSource("val", [unsized], is_hook=False), rules_of("val", "sequential", limit=3))
    loaders.load(Ranks(-1), 0)
    assert (loaders.counts, loaders.everywhere) == ([3], [None])


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


# --- where the training data stands ---


class Counting(torch.utils.data.Dataset[Tensor]):
    """Six numbers; remembers which were read."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __getitem__(self, index: int) -> Tensor:
        self.read.append(index)
        return torch.tensor(index)

    def __len__(self) -> int:
        return 6


class Endless(torch.utils.data.IterableDataset[int]):
    """Counts on, and saves how far."""

    def __init__(self) -> None:
        self.at = 0

    def __iter__(self) -> Iterator[int]:
        while True:
            self.at += 1
            yield self.at

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.at = state["at"]


def training_data(passed: Any, **rules: Any) -> TrainData:
    return TrainData(loaders_of(passed, stage="train", **rules))


def drawn(steps: Iterator[Any]) -> list[tuple[Any, int, bool]]:
    return [(batch.tolist(), index, last) for batch, index, _, last in steps]


def resumed(passed: Any, state: dict[str, Any], *, batches: int = 0, **rules: Any) -> TrainData:
    data = training_data(passed, **rules)
    data.load_state_dict([state], None, share=0)
    data.resume(batches)
    return data


def shuffled() -> DataLoader[Tensor]:
    return DataLoader(Counting(), batch_size=2, shuffle=True)


@pytest.mark.parametrize("taken", [0, 1, 2, 3])
@pytest.mark.parametrize("limit", [2, 1.0])
def test_resumed_epoch_gives_the_batches_that_are_left(taken: int, limit: float) -> None:
    data = training_data(shuffled(), limit=limit)
    steps = data.remaining_steps()
    seen = drawn(islice(steps, taken))
    state = data.state_dict(len(seen))
    rest = drawn(steps)
    found = resumed(shuffled(), state, limit=limit)
    assert found.is_resumed is False, "it's there now"
    assert drawn(found.remaining_steps()) == rest


def test_no_item_of_the_batches_before_is_read() -> None:
    loader: Any = DataLoader(Counting(), batch_size=2)
    data = training_data(DataLoader(Counting(), batch_size=2))
    next(data.remaining_steps())
    assert drawn(resumed(loader, data.state_dict(1)).remaining_steps()) == [([2, 3], 1, False), ([4, 5], 2, True)]
    assert loader.dataset.read == [2, 3, 4, 5]


def test_random_state_of_the_checkpoint_is_back_once_the_data_is() -> None:
    data = training_data(shuffled())
    next(data.remaining_steps())
    state, rng = data.state_dict(1), capture_rng_state()
    expected = torch.rand(3)
    again = training_data(shuffled())
    again.load_state_dict([state], rng, share=0)
    again.resume(1)
    assert torch.equal(torch.rand(3), expected)


def test_position_is_the_saved_one_until_the_loaders_are_there() -> None:
    data = training_data(shuffled())
    next(data.remaining_steps())
    state = data.state_dict(1)
    again = training_data(shuffled())
    again.load_state_dict([state], None, share=0)
    assert again.is_resumed
    assert again.state_dict(0) == state


def test_loaders_that_were_not_asked_for_stand_nowhere() -> None:
    source = LoaderSource("train", shuffled(), is_hook=False)
    data = TrainData(StageLoaders(source, rules_of("train", "max_size_cycle")))
    assert data.state_dict(0) == {"position": None}
    assert data.num_batches == float("inf")


def test_file_without_a_position_skips_what_was_trained_on() -> None:
    loader: Any = DataLoader(Counting(), batch_size=2)
    data = resumed(loader, {"position": None}, batches=2)
    assert drawn(data.remaining_steps()) == [([4, 5], 2, True)]
    assert loader.dataset.read == [4, 5]


@pytest.mark.parametrize("is_exhausted", [True, False])
def test_after_an_epoch_the_next_begins_with_its_first_batch(is_exhausted: bool) -> None:
    data = training_data(shuffled())
    steps = data.remaining_steps()
    list(steps) if is_exhausted else next(steps)
    data.end_epoch(is_exhausted=is_exhausted)
    state, rng = data.state_dict(0), capture_rng_state()
    following = drawn(data.remaining_steps())
    again = training_data(shuffled())
    again.load_state_dict([state], rng, share=0)
    again.resume(0)
    assert drawn(again.remaining_steps()) == following
    assert [index for _, index, _ in following] == [0, 1, 2]


def test_new_loaders_stand_before_their_first_batch() -> None:
    data = training_data(DataLoader(Counting(), batch_size=2))
    next(data.remaining_steps())
    data.load(STRATEGY, 1)
    assert [index for _, index, _ in drawn(data.remaining_steps())] == [0, 1, 2]


def test_what_is_read_ahead_of_training_comes_again() -> None:
    data = training_data(DataLoader(Endless(), batch_size=2), limit=4)
    steps = data.remaining_steps()
    next(steps)
    state = data.state_dict(1)
    again = resumed(DataLoader(Endless(), batch_size=2), state, limit=4)
    rest = [([3, 4], 1, False), ([5, 6], 2, False), ([7, 8], 3, True)]
    assert drawn(again.remaining_steps()) == rest == drawn(steps)


@pytest.mark.parametrize("limit", [4, 1.0])
def test_steps_that_take_batches_themselves_go_on_with_the_next(limit: float) -> None:
    def give(data: TrainData, most: int) -> list[tuple[Any, int]]:
        taken = []
        for iterator, *_ in islice(data.remaining_steps(), most):
            batch, batch_idx, _ = next(iterator)
            taken.append((batch.tolist(), batch_idx))
        return taken

    torch.manual_seed(3)
    data = training_data(rows(5, shuffle=True), hands_over=True, limit=limit)
    before = give(data, 2)
    state = data.state_dict(2)
    torch.manual_seed(3)
    whole = give(training_data(rows(5, shuffle=True), hands_over=True, limit=limit), 9)
    torch.manual_seed(4)
    assert before + give(resumed(rows(5, shuffle=True), state, hands_over=True, limit=limit), 9) == whole
    assert len(whole) == (5 if limit == 1.0 else 4)


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


class Together(SingleDeviceStrategy):
    """Stands for a strategy whose ranks compute each batch together, on the only rank."""

    def supports(self, part: Any) -> bool:
        return part is not Capability.UNEVEN_EVALUATION


def test_one_rank_alone_evaluates_a_stream_whatever_its_strategy() -> None:
    source = LoaderSource("val", DataLoader(Count(), batch_size=2), is_hook=False)
    loaders = StageLoaders(source, rules_of("val", "sequential"))
    loaders.load(Together("cpu"), 0)
    assert len(list(loaders.steps())) == 4
