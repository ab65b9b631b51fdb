"""A model whose stages lie on one rank after the other trains as one process does."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pipeline_ranks import (
    fitted_and_resumed,
    made_on_meta,
    parity,
    refusals,
    states,
    weighted_gradients,
    with_fabric,
)
from small_transformer import Staged, letters, optimizer_of
from tensor_ranks import trained_alone
from torch import nn

from lt_fabric import Fabric
from lt_fsdp import ModelParallelStrategy, ParallelPlan
from lt_interfaces import MisconfigurationException
from lt_interfaces.testing.ranks import run_in_processes


@pytest.mark.parametrize("num_stages", [2, 4])
def test_a_pipeline_trains_as_one_process_does(num_stages: int) -> None:
    for rank in run_in_processes(parity, num_stages, world_size=num_stages):
        for way, outcome in rank.items():
            expected = trained_alone(clip=0.3 if "clipped" in way else None, steps=len(outcome.losses))
            assert outcome.losses == pytest.approx(expected.losses, rel=0, abs=1e-5), way
            assert outcome.norms == pytest.approx(expected.norms, rel=1e-4), way
            assert outcome.norms[0] == pytest.approx(expected.norms[0], rel=1e-6), way
            for name, value in outcome.weights.items():
                torch.testing.assert_close(value, expected.weights[name], rtol=0, atol=1e-4, msg=f"{way}: {name}")


def test_its_state_is_that_of_the_whole_model_and_goes_on_anywhere() -> None:
    first, second = run_in_processes(states)
    assert first["resumed"] == second["resumed"] == pytest.approx(first["going on"], rel=0, abs=1e-6)
    assert second["whole"] == ({}, {})
    weights, optimizer_state = first["whole"]
    module = Staged(seed=9)
    module.load_state_dict(weights)
    optimizer = optimizer_of(module)
    optimizer.load_state_dict(optimizer_state)
    for number, expected in enumerate(first["going on"], start=3):
        optimizer.zero_grad()
        loss = module.training_step(letters(number))
        torch.autograd.backward(loss)
        optimizer.step()
        assert loss.item() == pytest.approx(expected, rel=0, abs=1e-6)
    assert first["bytes"] + second["bytes"] == sum(one.numel() for one in module.parameters())


@pytest.mark.parametrize("weights", [None, [4.0, 6.0, 5.0]])
def test_batches_of_any_size_and_weight_make_the_gradients_of_one_process(weights: list[float] | None) -> None:
    assert max(run_in_processes(weighted_gradients, weights)) < 1e-6


def test_a_fit_logs_on_all_ranks_the_losses_of_one_process_and_resumes(tmp_path: Path) -> None:
    alone = fitted_and_resumed(1, str(tmp_path))
    for rank in run_in_processes(fitted_and_resumed, 2, str(tmp_path)):
        for name, expected in alone.items():
            assert rank[name] == pytest.approx(expected, rel=0, abs=1e-5), name


def test_a_loop_of_ones_own_trains_a_pipeline() -> None:
    module, expected = Staged(), []
    optimizer = optimizer_of(module)
    for number in range(4):
        optimizer.zero_grad()
        loss = module.training_step(letters(number))
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(module.parameters(), 0.5)
        optimizer.step()
        expected.append(loss.item())
    assert run_in_processes(with_fabric) == [pytest.approx(expected, rel=0, abs=1e-5)] * 2


def test_a_rank_gives_memory_to_its_own_stage_alone() -> None:
    (first, is_filled), (second, is_filled_too) = run_in_processes(made_on_meta)
    assert is_filled
    assert is_filled_too
    assert not set(first) & set(second)
    assert {*first, *second} == {name for name, _ in Staged().named_parameters()}


def test_modules_that_are_no_pipeline_are_refused() -> None:
    for plain, outside, tied, too_few in run_in_processes(refusals):
        assert "`pipeline_stages`" in plain
        assert "`beside.weight`" in outside
        assert "in 2 of the 2 stages" in tied
        assert "returned 1 stages" in too_few


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"pipeline": 2, "shard": 2}, "`pipeline=2` can't be combined with `shard=2`"),
        ({"pipeline": 2}, "`pipeline=2` can't be combined with `shard=2`"),
        ({"pipeline": 3}, "`pipeline=4` would fit"),
    ],
)
def test_what_a_pipeline_cant_be_combined_with_is_refused_before_launch(arguments: dict[str, Any], named: str) -> None:
    strategy = ModelParallelStrategy(plan=ParallelPlan(**arguments), save_distributed_checkpoint=False)
    with pytest.raises(MisconfigurationException, match=named):
        Fabric(accelerator="cpu", devices=4, strategy=strategy)


def test_a_folder_of_shards_of_a_pipeline_is_refused() -> None:
    with pytest.raises(MisconfigurationException, match="save_distributed_checkpoint=False"):
        ModelParallelStrategy(plan=ParallelPlan(pipeline=2))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"pipeline": "auto"}, "`pipeline='auto'`"),
        ({"pipeline_schedule": "zigzag"}, "`pipeline_schedule='zigzag'` must be one of 1f1b, gpipe"),
        ({"num_microbatches": 0}, "`num_microbatches=0`"),
    ],
)
def test_a_pipeline_that_makes_no_sense_is_refused(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        ParallelPlan(**arguments)
