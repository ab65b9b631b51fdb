import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Net, rows, trainer_with
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset

from lt_fabric.data import CombinedLoader
from lt_interfaces.callback import Callback
from lt_interfaces.testing.data import RandomIterableDataset


class Numbers(Dataset[int]):
    """Item i is the number i, so that a prediction shows which samples it was made from."""

    def __init__(self, count: int = 5) -> None:
        self.count = count

    def __getitem__(self, index: Any) -> int:
        return int(index)

    def __len__(self) -> int:
        return self.count


class Same(Net):
    """Predicts what it's given."""

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return batch


class Writer(Callback):
    """A writer by its methods alone."""

    def __init__(self, *, needs_all: bool = False) -> None:
        self.needs_all_predictions = needs_all
        self.indices: list[tuple[int, list[int]]] = []
        self.current: list[int] = []
        self.in_hooks: list[tuple[list[int], Any]] = []
        self.predictions: Any = None
        self.had_all_at_epoch_end = False

    def take_batch_indices(self, batch_indices: list[int], dataloader_idx: int) -> None:
        self.indices.append((dataloader_idx, batch_indices))
        self.current = batch_indices

    def take_predictions(self, predictions: Sequence[list[Any]]) -> None:
        self.predictions = [list(of_loader) for of_loader in predictions]

    def on_predict_batch_start(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        assert self.current == self.indices[-1][1]

    def on_predict_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *args: Any) -> None:
        self.in_hooks.append((self.current, outputs))

    def on_predict_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.had_all_at_epoch_end = self.predictions is not None


def drawn(root: Path, loaders: Any, **arguments: Any) -> list[tuple[int, list[int]]]:
    """Return the indices a writer got, having seen that each batch in the hooks is made of these samples."""
    writer = Writer()
    trainer_with(root, writer, **arguments).predict(Same(), loaders)
    for indices, outputs in writer.in_hooks:
        assert torch.as_tensor(outputs).flatten().tolist() == indices
    return writer.indices


class Reversed(BatchSampler):
    """Gives its batches as iterators, last sample first."""

    def __init__(self) -> None:
        super().__init__(range(4, -1, -1), 2, drop_last=False)

    def __iter__(self) -> Iterator[Any]:
        return map(iter, super().__iter__())


def test_writers_get_the_samples_of_each_batch(tmp_path: Path) -> None:
    assert drawn(tmp_path, DataLoader(Numbers(), batch_size=2)) == [(0, [0, 1]), (0, [2, 3]), (0, [4])]


def test_each_loader_has_its_own(tmp_path: Path) -> None:
    loaders = [DataLoader(Numbers(3), batch_size=2), DataLoader(Numbers(2))]
    assert drawn(tmp_path, loaders) == [(0, [0, 1]), (0, [2]), (1, [0]), (1, [1])]


@pytest.mark.parametrize("workers", [0, 2])
def test_shuffled_samples_are_those_really_read(workers: int, tmp_path: Path) -> None:
    torch.manual_seed(3)
    indices = drawn(tmp_path, DataLoader(Numbers(), batch_size=2, shuffle=True, num_workers=workers))
    flat = [index for _, of_batch in indices for index in of_batch]
    assert sorted(flat) == list(range(5)) != flat


@pytest.mark.parametrize("sampler", [Reversed(), [[4, 3], [2, 1], [0]], [(4, 3), torch.tensor([2, 1]), (0,)]])
def test_batch_samplers_of_the_users_own_are_noted(sampler: Any, tmp_path: Path) -> None:
    loader = DataLoader(Numbers(), batch_sampler=sampler)
    assert drawn(tmp_path, loader) == [(0, [4, 3]), (0, [2, 1]), (0, [0])]


def test_without_batches_each_sample_has_its_index(tmp_path: Path) -> None:
    assert drawn(tmp_path, DataLoader(Numbers(3), batch_size=None)) == [(0, [0]), (0, [1]), (0, [2])]


def test_a_limit_cuts_both(tmp_path: Path) -> None:
    loader = DataLoader(Numbers(), batch_size=2, num_workers=2)
    assert drawn(tmp_path, loader, limit_predict_batches=2) == [(0, [0, 1]), (0, [2, 3])]


def test_seeded_items_keep_their_indices(tmp_path: Path) -> None:
    assert drawn(tmp_path, DataLoader(Numbers(2)), seed_items=7) == [(0, [0]), (0, [1])]


@pytest.mark.parametrize("loader", [DataLoader(RandomIterableDataset(3, 2)), [torch.zeros(1)]])
def test_samples_that_nobody_knows_are_said_so(loader: Any, tmp_path: Path) -> None:
    writer = Writer()
    with pytest.warns(UserWarning, match="Nobody knows which samples the batches of loader 0 have"):
        trainer_with(tmp_path, writer).predict(Same(), CombinedLoader([loader], "sequential"))
    assert {tuple(indices) for _, indices in writer.indices} == {()}


def test_batches_out_of_order_have_unknown_samples(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="in order"):
        indices = drawn_unchecked(tmp_path, DataLoader(Numbers(), num_workers=2, in_order=False))
    assert indices == [(0, [])] * 5


def drawn_unchecked(root: Path, loader: Any) -> list[tuple[int, list[int]]]:
    writer = Writer()
    trainer_with(root, writer).predict(Same(), loader)
    return writer.indices


def test_the_order_drawn_is_that_without_writers(tmp_path: Path) -> None:
    class Eager(Reversed):
        def __iter__(self) -> Iterator[Any]:
            return iter([[int(torch.randint(5, ()))] for _ in range(3)])

    def predictions(*callbacks: Any) -> Any:
        torch.manual_seed(0)
        return trainer_with(tmp_path, *callbacks).predict(Same(), DataLoader(Numbers(), batch_sampler=Eager()))

    assert predictions(Writer()) == predictions()


def test_the_users_loaders_stay_as_they_are(tmp_path: Path) -> None:
    loader = DataLoader(Numbers(2))
    combined, sampler = CombinedLoader([loader], "sequential"), loader.batch_sampler
    for _ in range(2):
        assert drawn_unchecked(tmp_path, combined) == [(0, [0]), (0, [1])]
    assert combined.flattened == [loader]
    assert loader.batch_sampler is sampler


def test_all_predictions_are_kept_for_who_needs_them_alone(tmp_path: Path) -> None:
    writer, other = Writer(needs_all=True), Writer()
    kept = trainer_with(tmp_path, writer, other).predict(Net(), [rows(2)], return_predictions=False)
    assert kept is None
    assert [len(of_loader) for of_loader in writer.predictions] == [2]
    assert writer.had_all_at_epoch_end
    assert all(not prediction.requires_grad for prediction in writer.predictions[0])
    assert other.predictions is None


def test_who_needs_them_gets_what_is_returned(tmp_path: Path) -> None:
    writer = Writer(needs_all=True)
    returned = trainer_with(tmp_path, writer).predict(Net(), rows(2))
    assert returned is not None
    assert all(map(torch.equal, returned, writer.predictions[0]))


def test_a_step_that_takes_its_batches_itself_is_refused(tmp_path: Path) -> None:
    class Takes(Net):
        def predict_step(self, dataloader_iter: Iterator[Any]) -> Tensor:
            return self.layer(next(dataloader_iter)[0])

    with pytest.raises(NotImplementedError, match="Writer can't tell the batches of a `predict_step`"):
        trainer_with(tmp_path, Writer()).predict(Takes(), rows(1))


def test_without_writers_nothing_is_noted(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert trainer_with(tmp_path).predict(Same(), [torch.ones(1)]) is not None
