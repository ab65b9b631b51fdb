"""Collectives in a group of one; what several ranks make of them is in the contract's suite."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from ddp_ranks import connected

from lt_interfaces.testing import run_in_processes
from lt_strategies import collectives


@pytest.fixture(autouse=True)
def group(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("op", ["mean", "avg", "sum", "min", "max", "SUM"])
def test_reduction_leaves_what_was_given(op: str) -> None:
    given = torch.tensor([1.0, 2.0])
    reduced = collectives.reduce(given, op=op)
    assert torch.equal(reduced, given)
    assert reduced.data_ptr() != given.data_ptr()


def test_unknown_reduction_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ValueError, match=r"`op='median'` isn't a reduction; choose one of mean, avg, sum, min, max"):
        collectives.reduce(torch.ones(1), op="median")


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_mean_of_whole_numbers_is_a_floating_point_number(dtype: torch.dtype) -> None:
    assert collectives.reduce(torch.ones(1, dtype=dtype), op="mean").dtype is torch.get_default_dtype()


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex64])
def test_mean_of_other_numbers_keeps_their_type(dtype: torch.dtype) -> None:
    assert collectives.reduce(torch.ones(1, dtype=dtype), op="mean").dtype is dtype


def test_sum_of_whole_numbers_stays_whole() -> None:
    assert collectives.reduce(torch.ones(1, dtype=torch.int64), op="sum").dtype is torch.int64


def test_expanded_and_transposed_tensors_are_reduced() -> None:
    assert collectives.reduce(torch.ones(()).expand(3), op="sum").tolist() == [1.0] * 3
    assert collectives.reduce(torch.tensor([[1.0, 2.0]]).T, op="sum").tolist() == [[1.0], [2.0]]


def test_reduction_takes_no_part_in_gradients() -> None:
    assert not collectives.reduce(torch.ones(1, requires_grad=True), op="sum").requires_grad


def test_gathering_adds_a_dimension_for_ranks() -> None:
    gathered = collectives.all_gather(torch.tensor([[1.0, 2.0]]).T)
    assert gathered.tolist() == [[[1.0], [2.0]]]


def test_gathering_lets_gradients_through_when_asked() -> None:
    given = torch.tensor([1.0, 2.0], requires_grad=True)
    assert not collectives.all_gather(given).requires_grad
    torch.autograd.backward((collectives.all_gather(given, sync_grads=True) * 3).sum())
    assert given.grad is not None
    assert given.grad.tolist() == [3.0, 3.0]


def second_gradient() -> float:
    """Return how the gradient of (rank + 1) * sum of cubes over ranks changes with this rank's number, which is 2."""
    strategy = connected()
    own = torch.tensor(2.0, requires_grad=True)
    loss = strategy.all_gather(own, sync_grads=True).pow(3).sum() * (strategy.global_rank + 1)
    (first,) = torch.autograd.grad(loss, own, create_graph=True)
    (second,) = torch.autograd.grad(first, own)
    strategy.barrier()
    strategy.teardown()
    return second.item()


def test_second_gradients_go_through_gathering() -> None:
    assert run_in_processes(second_gradient) == [(1 + 2) * 6 * 2.0] * 2


def test_collectives_take_a_group() -> None:
    chosen = dist.new_group([0])
    assert collectives.reduce(torch.tensor([4]), op="mean", group=chosen).item() == 4.0
    for sync_grads in (True, False):
        assert collectives.all_gather(torch.ones(2), group=chosen, sync_grads=sync_grads).shape == (1, 2)


def test_objects_are_sent_as_they_are() -> None:
    assert collectives.broadcast_object({"a": [1, None]}, 0, torch.device("cpu")) == {"a": [1, None]}
