"""Promises of what each rank has of its own in a checkpoint."""

from typing import Any

import pytest
import torch
from thread_ranks import Job
from torch import Tensor

from lt_core.checkpointing.rank_states import SavedRanks, of_all_ranks
from lt_fabric.data.shared_order import DataShare
from lt_interfaces.rng import capture_rng_state


def state_of(rank: int, gradient: Tensor) -> dict[str, Any]:
    validation = {"interrupted": {"rng": capture_rng_state(), "logged_batches": [rank], "metrics": {"m": rank}}}
    return {
        "rng": capture_rng_state(),
        "progress": "the same",
        "data": {"position": rank},
        "results": {"slots": []},
        "metrics": {"m": -rank},
        "callback_metrics": {},
        "validation": validation,
        "window": {"window": None, "gradients": {"weight": gradient}},
    }


def saved(gradients: list[float]) -> dict[str, Any]:
    """Return what several ranks save, having these gradients."""

    def on_rank(rank: Any) -> dict[str, Any]:
        return of_all_ranks(rank, state_of(rank.rank, torch.tensor([gradients[rank.rank]])))

    first, *others = Job(len(gradients)).run(on_rank)
    assert all(len(other["rng"]) == len(gradients) for other in others)
    assert [other["data"] for other in others] == [first["data"]] * len(others), "all ranks write the same"
    return first


class Alone:
    world_size = 1


def test_one_process_has_nothing_of_other_ranks() -> None:
    own = of_all_ranks(Alone(), state_of(0, torch.zeros(1)))  # type: ignore[arg-type]  # nothing else is asked for
    assert "other_ranks" not in own
    assert len(own["rng"]) == 1


def test_each_of_as_many_ranks_finds_its_own() -> None:
    written = saved([1.0, 1.0, 1.0])
    for rank in range(3):
        ranks = SavedRanks(written, rank=rank, world_size=3)
        assert ranks.own["data"] == {"position": rank}
        assert ranks.rng is written["rng"][rank]
        assert ranks.validation["interrupted"]["metrics"] == {"m": rank}


def test_gradients_are_written_once_where_all_ranks_have_the_same() -> None:
    assert "window" not in saved([1.0, 1.0])["other_ranks"][0]
    different = saved([1.0, 2.0])
    found = [SavedRanks(different, rank=rank, world_size=2).window["gradients"]["weight"].item() for rank in (0, 1)]
    assert found == [1.0, 2.0]


def test_gradients_of_their_own_bind_a_checkpoint_to_the_number_of_ranks() -> None:
    assert SavedRanks(saved([1.0, 1.0]), rank=0, world_size=1).window["window"] is None
    with pytest.raises(ValueError, match=r"as many processes as before: 2\. Use that number"):
        _ = SavedRanks(saved([1.0, 2.0]), rank=0, world_size=1).window
    alone = of_all_ranks(Alone(), state_of(0, torch.zeros(1)))  # type: ignore[arg-type]  # nothing else is asked for
    alone["window"]["window"] = {"held": 1}
    with pytest.raises(ValueError, match="as many processes as before: 1"):
        _ = SavedRanks(alone, rank=1, world_size=2).window


def test_among_others_an_interrupted_validation_begins_with_the_metrics_of_all_ranks_then() -> None:
    written = saved([1.0, 1.0])
    for rank in range(3):
        ranks = SavedRanks(written, rank=rank, world_size=3)
        assert ranks.all_metrics() == [{"m": 0}, {"m": 1}]
        assert "metrics" not in ranks.validation["interrupted"]
    states = [SavedRanks(written, rank=rank, world_size=3).rng["torch"].tolist() for rank in range(3)]
    assert states[2] not in states[:2]


def test_ranks_that_have_one_share_of_the_data_count_once_for_other_jobs() -> None:
    def on_rank(rank: Any) -> dict[str, Any]:
        rank.distributed_sampler_kwargs = {"num_replicas": 2, "rank": rank.rank // 2}
        return of_all_ranks(rank, state_of(rank.rank, torch.zeros(1)))

    written = Job(4).run(on_rank)[0]
    assert len(written["rng"]) == 4
    same = SavedRanks(written, rank=3, world_size=4, share=DataShare(1, 2))
    assert same.is_same_number
    assert same.own["data"] == {"position": 3}
    assert [one["position"] for one in same.all("data")] == [0, 2]
    assert not SavedRanks(written, rank=3, world_size=4, share=DataShare(3, 4)).is_same_number
    assert not SavedRanks(written, rank=0, world_size=2, share=DataShare(0, 2)).is_same_number
