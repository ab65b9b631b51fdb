"""Ranks that compute layers together train as one process does, whatever their owner has divided or left whole."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from small_transformer import Transformer, letters, optimizer_of
from tensor_ranks import (
    Outcome,
    connected,
    gradients_of_sequences,
    made_on_meta,
    parity,
    replicas,
    states,
    trained_alone,
    whole_replicas_agree,
)

from lt_checkpoint_io import DistributedCheckpointIO
from lt_interfaces.strategy import Strategy
from lt_interfaces.testing import DistributedStrategyContract, DistributedWindowContract, StrategyContract
from lt_interfaces.testing.ranks import run_in_processes

LAYOUTS = [(1, 2), (2, 2)]


@cache
def on_ranks(data: int, tensor: int) -> list[dict[str, Outcome]]:
    return run_in_processes(parity, data, tensor, world_size=data * tensor)


@cache
def saved_and_resumed(data: int, tensor: int, folder: str) -> list[dict[str, Any]]:
    return run_in_processes(states, data, tensor, folder, world_size=data * tensor)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("saved")


@cache
def alone(clip: float | None) -> Outcome:
    return trained_alone(clip=clip)


class TestAlone(StrategyContract):
    @pytest.fixture
    def strategy(self) -> Iterator[Strategy]:
        strategy = connected(1)
        yield strategy
        strategy.teardown()
        strategy._job._group.leave()  # of a process that lives on


class TestReplicas(DistributedStrategyContract):
    @pytest.fixture
    def make_strategy(self) -> Callable[[], Strategy]:
        return replicas


class TestWindowsOfReplicas(DistributedWindowContract):
    @pytest.fixture
    def make_strategy(self) -> Callable[[], Strategy]:
        return replicas


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_ranks_train_as_one_process_does(layout: tuple[int, int]) -> None:
    for rank in on_ranks(*layout):
        for way, outcome in rank.items():
            expected = alone(0.3 if "clipped" in way else None)
            assert expected.losses[-1] < 0.8 * expected.losses[0]
            assert outcome.losses == pytest.approx(expected.losses, rel=0, abs=1e-5), way
            for name, value in outcome.weights.items():
                torch.testing.assert_close(value, expected.weights[name], rtol=0, atol=1e-4, msg=f"{way}: {name}")


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_the_norm_is_that_of_one_process(layout: tuple[int, int]) -> None:
    for rank in on_ranks(*layout):
        for way, outcome in rank.items():
            expected = alone(0.3 if "clipped" in way else None)
            assert outcome.norms[0] == pytest.approx(expected.norms[0], rel=1e-6), way


def test_what_is_whole_stays_the_same_on_ranks_that_compute_together() -> None:
    assert run_in_processes(whole_replicas_agree, 1, 2) == [True] * 2


def test_gradients_of_layers_that_see_a_part_of_each_sequence_are_whole() -> None:
    for furthest, norm_error in run_in_processes(gradients_of_sequences, 0.01):
        assert furthest < 1e-7
        assert norm_error < 1e-6


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_ranks_go_on_from_what_was_saved_in_either_form(layout: tuple[int, int], folder: Path) -> None:
    for rank in saved_and_resumed(*layout, str(folder)):
        for form in ("full", "sharded"):
            going_on, resumed = rank[form]
            assert resumed == pytest.approx(going_on, rel=0, abs=1e-6), form


def test_one_process_goes_on_from_the_state_of_a_divided_and_sharded_model(folder: Path) -> None:
    found = saved_and_resumed(2, 2, str(folder))
    weights, optimizer_state = found[0]["whole"]
    assert [rank["whole"] for rank in found[1:]] == [({}, {})] * 3
    sharded = DistributedCheckpointIO().load_checkpoint(folder / "2x2.ckpt")
    for saved, optimizer in (
        (weights, optimizer_state),
        (sharded["state_dict"], sharded["optimizer_states"][0]),
    ):
        module = Transformer(seed=9)
        module.load_state_dict(saved)
        stepped = optimizer_of(module)
        stepped.load_state_dict(optimizer)
        for number, expected in enumerate(found[0]["full"][0], start=3):
            stepped.zero_grad()
            loss = module.training_step(letters(number))
            torch.autograd.backward(loss)
            stepped.step()
            assert loss.item() == pytest.approx(expected, rel=0, abs=1e-6)


def test_a_module_made_on_meta_starts_as_one_process_would_start_it() -> None:
    torch.manual_seed(5)
    module = Transformer()
    for layer in module.modules():
        if callable(reset := getattr(layer, "reset_parameters", None)):
            reset()
    for rank in run_in_processes(made_on_meta, 1, 2, False):
        for name, value in module.state_dict().items():
            assert torch.equal(rank[name], value), name


def test_a_module_sharded_on_meta_by_its_owner_gets_memory_and_the_same_weights_everywhere() -> None:
    found = run_in_processes(made_on_meta, 2, 2, True, world_size=4)
    for name, value in found[0].items():
        assert all(torch.equal(rank[name], value) for rank in found), name
        assert value.isfinite().all()
        assert name.endswith("norm.bias") or "norm" in name or value.unique().numel() > value.numel() // 2
