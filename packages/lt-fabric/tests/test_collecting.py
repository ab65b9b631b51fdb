import pytest
import torch
from fabric_pretence import CPU, ManyStrategy

from lt_fabric.collecting import first_alone, over_tensors, plain_numbers


def test_tensors_and_numbers_at_any_depth_are_collected() -> None:
    def double(tensor: torch.Tensor, *, by: int) -> torch.Tensor:
        return tensor * by

    collected = over_tensors({"a": [1, torch.tensor([2.0])], "name": "x"}, CPU, collective=double, by=3)
    assert collected == {"a": [torch.tensor(3), torch.tensor([6.0])], "name": "x"}


@pytest.mark.parametrize(("rank", "order"), [(0, ["block", "rank_zero_first"]), (1, ["rank_zero_first", "block"])])
@pytest.mark.parametrize("local", [True, False])
def test_rank_zero_goes_first(rank: int, order: list[str], local: bool) -> None:
    class Ranked(ManyStrategy):
        local_rank = rank if local else 1 - rank  # type: ignore[assignment]  # a fixed rank
        global_rank = 1 - rank if local else rank  # type: ignore[assignment]

    strategy = Ranked()
    with first_alone(strategy, local=local):
        strategy.barriers.append("block")
    assert strategy.barriers == order


def test_metrics_become_numbers() -> None:
    assert plain_numbers({"a": torch.tensor([1.5]), "b": 2}) == {"a": 1.5, "b": 2}
