from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from lt_fabric.data import (
    ShardedSampler,
    is_shuffled,
    set_epoch,
    with_distributed_sampler,
    with_sampler,
    without_shuffle,
)


class Stream(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(3))


class OwnArguments(DataLoader[int]):
    """A subclass that passes batch_size by position and takes arguments of its own."""

    def __init__(self, path: str, *, scale: int) -> None:
        super().__init__(range(6), 4)  # type: ignore[arg-type]
        self.path = path
        self.scale = scale


class Backwards(Sampler[int]):
    def __init__(self, length: int) -> None:
        self.length = length
        self.epoch = 0

    def __iter__(self) -> Iterator[int]:
        return reversed(range(self.length))

    def __len__(self) -> int:
        return self.length

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


class Endless:
    def __iter__(self) -> Iterator[int]:
        while True:
            yield 0


class Pairs(BatchSampler):
    """A custom batch sampler with an __init__ of its own, that keeps its sampler."""

    def __init__(self, sampler: Any, *, reason: str) -> None:
        super().__init__(sampler, 2, False)
        self.reason = reason


class Blocks:
    """A custom batch sampler that doesn't say where its indices come from."""

    def __iter__(self) -> Iterator[list[int]]:
        return iter([[0, 1], [2]])

    def __len__(self) -> int:
        return 2


def loader(length: int = 6, **arguments: Any) -> DataLoader[int]:
    return DataLoader(range(length), **arguments)  # type: ignore[arg-type]


def drawn(loader: DataLoader[int]) -> list[int]:
    return [index for batch in loader for index in batch.tolist()]


def on_all_ranks(make: Callable[[], DataLoader[int]], world: int, epoch: int = 0, **options: Any) -> list[list[int]]:
    shards = []
    for rank in range(world):
        torch.manual_seed(1000 + rank)  # ranks never share their random state by luck
        shard = with_distributed_sampler(make(), num_replicas=world, rank=rank, **options)
        set_epoch(shard, epoch)
        shards.append(drawn(shard))
    return shards


# ShardedSampler


@given(length=st.integers(0, 20), world=st.integers(1, 6))
def test_ranks_together_draw_each_index_once(length: int, world: int) -> None:
    shards = [ShardedSampler(range(length), num_replicas=world, rank=rank) for rank in range(world)]
    assert sorted(index for shard in shards for index in shard) == list(range(length))
    assert [len(shard) for shard in shards] == [len(list(shard)) for shard in shards]


@given(length=st.integers(1, 20), world=st.integers(1, 6))
def test_padded_ranks_draw_equally_many_and_miss_none(length: int, world: int) -> None:
    shards = [ShardedSampler(range(length), num_replicas=world, rank=rank, padded=True) for rank in range(world)]
    drawn_indices = [list(shard) for shard in shards]
    assert {len(indices) for indices in drawn_indices} == {len(shards[0])} == {-(-length // world)}
    assert {index for indices in drawn_indices for index in indices} == set(range(length))


def test_random_sampler_gives_one_order_on_all_ranks_and_another_each_epoch() -> None:
    def order(epoch: int, rank_seed: int) -> list[int]:
        torch.manual_seed(rank_seed)
        sampler = ShardedSampler(SubsetRandomSampler(range(50)), num_replicas=1, rank=0)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(0, rank_seed=1) == order(0, rank_seed=2)
    assert order(0, rank_seed=1) != order(1, rank_seed=1)


def test_drawing_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    list(ShardedSampler(RandomSampler(range(9)), num_replicas=2, rank=0))
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.gpu
def test_drawing_leaves_the_generator_of_the_device_alone() -> None:
    before = torch.cuda.get_rng_state()
    list(ShardedSampler(RandomSampler(range(9)), num_replicas=2, rank=0))
    assert torch.equal(torch.cuda.get_rng_state(), before)


def test_sampler_without_length_cannot_be_shared() -> None:
    with pytest.raises(TypeError, match=r"Endless has no `__len__`.*`use_distributed_sampler=False`"):
        ShardedSampler(Endless(), num_replicas=2, rank=0)


# with_sampler


def test_new_sampler_decides_the_order_and_the_old_loader_stays() -> None:
    old = loader(batch_size=4, drop_last=False)
    new = with_sampler(old, [5, 4, 3])
    assert (drawn(new), drawn(old)) == ([5, 4, 3], [0, 1, 2, 3, 4, 5])
    assert (new.batch_size, len(new), new.sampler) == (4, 1, [5, 4, 3])


@pytest.mark.parametrize("arguments", [{"batch_size": None}, {"batch_size": 2, "drop_last": True}, {"num_workers": 1}])
def test_other_settings_stay(arguments: dict[str, Any]) -> None:
    old = loader(collate_fn=lambda items: torch.tensor(items), **arguments)
    new = with_sampler(old, [1, 0, 3])
    for name in ("batch_size", "num_workers", "drop_last", "collate_fn", "dataset", "persistent_workers"):
        assert getattr(new, name) is getattr(old, name)


def test_subclass_keeps_its_class_and_attributes() -> None:
    new = with_sampler(OwnArguments("somewhere", scale=3), [2, 1])
    assert isinstance(new, OwnArguments)
    assert (new.path, new.scale, new.batch_size, drawn(new)) == ("somewhere", 3, 4, [2, 1])


def test_custom_batch_sampler_keeps_its_class_and_attributes() -> None:
    old = loader(batch_sampler=Pairs(SequentialSampler(range(6)), reason="siblings"))
    new = with_sampler(old, [5, 4, 3])
    assert isinstance(new.batch_sampler, Pairs)
    assert new.batch_sampler.reason == "siblings"
    assert list(new.batch_sampler) == [[5, 4], [3]]
    assert len(drawn(old)) == 6


def test_persistent_workers_are_not_shared_with_the_old_loader() -> None:
    old = loader(num_workers=1, persistent_workers=True)
    assert drawn(old) == [0, 1, 2, 3, 4, 5]
    assert drawn(with_sampler(old, [3, 1])) == [3, 1]


def test_batch_sampler_that_hides_its_sampler_is_refused() -> None:
    with pytest.raises(TypeError, match=r"`batch_sampler` Blocks .*`use_distributed_sampler=False`"):
        with_sampler(loader(batch_sampler=Blocks()), [1])


def test_loader_with_a_fixed_sampler_is_refused() -> None:
    class Fixed(DataLoader[int]):
        @property
        def sampler(self) -> list[int]:
            return [0]

        @sampler.setter
        def sampler(self, value: object) -> None:
            pass

    with pytest.raises(TypeError, match=r"`sampler` of Fixed .*`use_distributed_sampler=False`"):
        with_sampler(Fixed(range(3)), [1])  # type: ignore[arg-type]


def test_only_dataloaders_have_samplers_to_replace() -> None:
    with pytest.raises(TypeError, match="sampler of a list can't be replaced"):
        with_sampler([1, 2], [1])  # type: ignore[arg-type]


def test_dataloader_itself_stays_as_torch_made_it() -> None:
    before = dict(vars(DataLoader))
    with_sampler(loader(), [1])
    assert dict(vars(DataLoader)) == before
    with pytest.raises(ValueError, match="should not be set"):
        with_sampler(loader(), [1]).batch_size = 3


# with_distributed_sampler


def test_unshuffled_training_stays_unshuffled() -> None:
    assert on_all_ranks(lambda: loader(5), 2) == [[0, 2, 4], [1, 3, 0]]
    shard = with_distributed_sampler(loader(5), num_replicas=2, rank=0)
    assert isinstance(shard.sampler, DistributedSampler)
    assert not is_shuffled(shard)


def test_shuffled_training_stays_shuffled_and_changes_with_the_epoch() -> None:
    def make() -> DataLoader[int]:
        return loader(40, shuffle=True)

    first, second = on_all_ranks(make, 2), on_all_ranks(make, 2, epoch=1)
    assert sorted(first[0] + first[1]) == list(range(40))
    assert first != second
    assert is_shuffled(with_distributed_sampler(make(), num_replicas=2, rank=0))


def test_seed_changes_the_shuffle() -> None:
    assert on_all_ranks(lambda: loader(40, shuffle=True), 2) != on_all_ranks(
        lambda: loader(40, shuffle=True), 2, seed=1
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: loader(7, batch_size=2),
        lambda: loader(7, shuffle=True),
        lambda: loader(7, shuffle=True, generator=torch.Generator().manual_seed(torch.initial_seed())),
        lambda: loader(7, sampler=Backwards(7)),
        lambda: loader(7, sampler=SubsetRandomSampler(range(7))),
        lambda: loader(7, batch_sampler=Pairs(Backwards(7), reason="siblings")),
    ],
    ids=["plain", "shuffled", "own generator", "custom", "subset", "batch sampler"],
)
@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_evaluation_draws_each_sample_once(make: Callable[[], DataLoader[int]], world: int) -> None:
    shards = on_all_ranks(make, world, each_once=True)
    assert sorted(index for shard in shards for index in shard) == list(range(7))


def test_evaluation_of_five_samples_on_two_ranks() -> None:
    assert on_all_ranks(lambda: loader(5), 2, each_once=True) == [[0, 2, 4], [1, 3]]


@given(size=st.integers(0, 20), world=st.integers(2, 4), batch_size=st.integers(1, 4))
def test_evaluation_leaves_out_what_one_process_leaves_out(size: int, world: int, batch_size: int) -> None:
    loader: DataLoader[int] = DataLoader(range(size), batch_size, drop_last=True)  # type: ignore[arg-type]
    shares = [with_distributed_sampler(loader, num_replicas=world, rank=r, each_once=True) for r in range(world)]
    drawn = sorted(sample for share in shares for batch in share for sample in batch.tolist())
    assert drawn == [sample for batch in loader for sample in batch.tolist()]


def test_a_custom_batch_sampler_gets_its_share_of_samples() -> None:
    class Doubled(BatchSampler):
        """Draws batches of growing size."""

        def __iter__(self) -> Iterator[list[int]]:
            indices, size = list(self.sampler), 1
            while indices:
                yield indices[:size]
                indices, size = indices[size:], 2 * size

    own = Doubled(SequentialSampler(range(11)), batch_size=1, drop_last=False)
    loader: DataLoader[int] = DataLoader(range(11), batch_sampler=own)  # type: ignore[arg-type]
    shared = with_distributed_sampler(loader, num_replicas=2, rank=1, each_once=True)
    assert [batch.tolist() for batch in shared] == [[1], [3, 5], [7, 9]]


def test_custom_sampler_is_shared_out_in_its_order() -> None:
    assert on_all_ranks(lambda: loader(5, sampler=Backwards(5)), 2) == [[4, 2, 0], [3, 1, 4]]


def test_number_of_weighted_samples_is_kept() -> None:
    shards = on_all_ranks(lambda: loader(3, sampler=WeightedRandomSampler([1, 1, 0], 10)), 2)
    assert [len(shard) for shard in shards] == [5, 5]
    assert {index for shard in shards for index in shard} <= {0, 1}


def test_drawing_with_replacement_is_kept() -> None:
    shards = on_all_ranks(lambda: loader(3, sampler=RandomSampler(range(3), replacement=True, num_samples=12)), 2)
    assert [len(shard) for shard in shards] == [6, 6]


def test_own_distributed_sampler_and_streams_are_left_alone() -> None:
    own = loader(sampler=DistributedSampler(range(6), 2, 0))  # type: ignore[arg-type]
    stream: DataLoader[int] = DataLoader(Stream())
    sharded = with_distributed_sampler(loader(), num_replicas=2, rank=0, each_once=True)
    for unchanged in (own, stream, sharded):
        assert with_distributed_sampler(unchanged, num_replicas=2, rank=1) is unchanged


# is_shuffled, without_shuffle, set_epoch


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: loader(), False),
        (lambda: loader(shuffle=True), True),
        (lambda: loader(sampler=SubsetRandomSampler(range(3))), True),
        (lambda: loader(sampler=WeightedRandomSampler([1.0], 1)), True),
        (lambda: loader(sampler=Backwards(3)), False),
        (lambda: loader(sampler=DistributedSampler(range(6), 2, 0, shuffle=True)), True),  # type: ignore[arg-type]
        (lambda: loader(sampler=DistributedSampler(range(6), 2, 0, shuffle=False)), False),  # type: ignore[arg-type]
        (lambda: loader(sampler=ShardedSampler(RandomSampler(range(6)), num_replicas=2, rank=0)), True),
        (lambda: loader(batch_sampler=Pairs(RandomSampler(range(6)), reason="siblings")), True),
        (lambda: loader(batch_sampler=Blocks()), False),
        (lambda: DataLoader(Stream()), False),
        (lambda: [1, 2], False),
    ],
)
def test_shuffling_is_seen_in_the_sampler(make: Callable[[], object], expected: bool) -> None:
    assert is_shuffled(make()) is expected


@pytest.mark.parametrize("arguments", [{"shuffle": True}, {"sampler": Backwards(6)}])
def test_overfitting_makes_a_loader_sequential(arguments: dict[str, Any]) -> None:
    with pytest.warns(UserWarning, match=r"`overfit_batches`.*replaced"):
        plain = without_shuffle(loader(batch_size=4, **arguments))
    assert [batch.tolist() for batch in plain] == [[0, 1, 2, 3], [4, 5]]


@pytest.mark.parametrize("make", [loader, lambda: DataLoader(Stream()), lambda: [1]])
def test_overfitting_leaves_other_loaders_alone(make: Callable[[], Any]) -> None:
    unchanged = make()
    assert without_shuffle(unchanged) is unchanged


def test_epoch_reaches_the_samplers() -> None:
    plain, batched, wrapped = Backwards(6), Backwards(6), Backwards(6)
    set_epoch(loader(sampler=plain), 4)
    set_epoch(loader(batch_sampler=Pairs(batched, reason="siblings")), 4)
    set_epoch(with_distributed_sampler(loader(sampler=wrapped), num_replicas=2, rank=0), 4)
    assert (plain.epoch, batched.epoch, wrapped.epoch) == (4, 4, 4)


def test_epoch_is_told_once() -> None:
    class Counter(Backwards):
        calls = 0

        def set_epoch(self, epoch: int) -> None:
            self.calls += 1

    sampler = Counter(6)
    set_epoch(loader(sampler=sampler, batch_size=2), 1)
    assert sampler.calls == 1


def test_loaders_without_samplers_have_no_epoch_to_set() -> None:
    set_epoch([1, 2], 3)
