"""Prediction writers get the predictions of their rank, with the samples that each belongs to."""

from functools import cache
from typing import Any

import pytest
from writing_ranks import predict

from lt_interfaces.testing.ranks import run_in_processes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("ranks"))


@cache
def on_ranks(folder: str) -> list[dict[str, Any]]:
    """Predict from everything in one job, as starting its processes is what takes time."""
    return run_in_processes(predict, folder, timeout_seconds=100)


def test_each_rank_gets_the_samples_it_has_read(folder: str) -> None:
    first, second = (rank["plain"]["epoch"] for rank in on_ranks(folder))
    assert first == ([[0], [2], [4]], [[[0], [2], [4]]])
    assert second == ([[1], [3]], [[[1], [3]]])


@pytest.mark.parametrize("case", ["plain", "batches", "workers", "shuffled"])
def test_indices_are_those_of_the_predictions(case: str, folder: str) -> None:
    for rank in on_ranks(folder):
        predictions, (indices,) = rank[case]["epoch"]
        assert predictions == indices
        assert rank[case]["batches"] == list(zip(predictions, indices, strict=True))


@pytest.mark.parametrize("case", ["plain", "batches", "workers", "shuffled"])
def test_all_ranks_together_write_each_sample_once(case: str, folder: str) -> None:
    written = [sample for rank in on_ranks(folder) for batch in rank[case]["epoch"][0] for sample in batch]
    assert sorted(written) == [0, 1, 2, 3, 4]


def test_shuffled_samples_are_not_those_of_a_plain_share(folder: str) -> None:
    assert on_ranks(folder)[0]["shuffled"]["epoch"] != on_ranks(folder)[0]["plain"]["epoch"]


def test_a_loader_that_leaves_a_rank_without_batches_has_a_list_all_the_same(folder: str) -> None:
    first, second = (rank["several"]["epoch"] for rank in on_ranks(folder))
    assert first == ([[[0], [2], [4]], [[0]]], [[[0], [2], [4]], [[0]]])
    assert second == ([[[1], [3]], []], [[[1], [3]], []])


def test_writers_get_their_own_ranks_predictions_also_when_all_are_gathered(folder: str) -> None:
    for rank in on_ranks(folder):
        assert rank["gathered"]["epoch"] == rank["batches"]["epoch"]
        assert rank["gathered"]["returned"] == [[0, 1], [2, 3], [4]]
        assert rank["batches"]["returned"] is None
