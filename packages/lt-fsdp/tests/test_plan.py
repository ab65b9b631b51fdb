"""A plan says beforehand how a model is laid out, and is refused before launch where it can't be."""

from typing import Any

import pytest
from small_transformer import Transformer
from tensor_ranks import loss_with_tied_layers, parity_of_plans, planned, refused_plans, trained_alone
from torch import nn
from torch.distributed.tensor.parallel import ColwiseParallel

from lt_fabric import Fabric
from lt_fsdp import ModelParallelStrategy, ParallelPlan
from lt_fsdp.tensor_styles import matched
from lt_interfaces import MisconfigurationException
from lt_interfaces.testing.ranks import run_in_processes


@pytest.mark.parametrize("world_size", [2, 4])
def test_a_planned_job_trains_as_one_process_does(world_size: int) -> None:
    expected = trained_alone(clip=0.3)
    for rank in run_in_processes(parity_of_plans, world_size, world_size=world_size):
        assert len(rank) == world_size // 2
        for plan, outcome in rank.items():
            assert outcome.losses == pytest.approx(expected.losses, rel=0, abs=1e-5), plan
            assert outcome.norms[0] == pytest.approx(expected.norms[0], rel=1e-6), plan


def test_a_parameter_of_two_layers_is_one_parameter_when_they_are_divided() -> None:
    expected, _ = loss_with_tied_layers(True)
    for losses, is_one in run_in_processes(loss_with_tied_layers, False):
        assert is_one
        assert losses == pytest.approx(expected, rel=0, abs=1e-5)


def test_styles_that_dont_fit_the_module_are_refused() -> None:
    for unmatched, ambiguous, impossible, torn in run_in_processes(refused_plans):
        assert "`block.*.up`" in unmatched
        assert "`blocks.*.up`" in unmatched.split("Near names")[1]
        assert all(one in ambiguous for one in ("`blocks.0.up`", "`blocks.*.up`", "`blocks.0.*`"))
        assert "`blocks.0.wide_norm`" in impossible
        assert "`head.weight`" in torn
        assert "`embedding.weight`" in torn


def test_a_star_stands_for_one_part_of_a_name() -> None:
    module = Transformer()
    assert sorted(matched(module, {"blocks.*.up": "colwise"})) == ["blocks.0.up", "blocks.1.up"]
    with pytest.raises(ValueError, match=r"`\*.up` in `tensor_styles` fits no module"):
        matched(module, {"*.up": "colwise"})


def test_without_near_names_those_that_there_are_are_listed() -> None:
    with pytest.raises(ValueError, match=r"It has `\*`"):
        matched(nn.Sequential(nn.Linear(1, 1)), {"encoder.attention": "colwise"})


def test_a_model_may_be_named_twice_with_the_same_style() -> None:
    assert matched(Transformer(), {"blocks.*.up": "colwise", "blocks.0.up": "colwise"})


@pytest.mark.parametrize(
    ("axes", "named"),
    [
        ({"shard": 3, "tensor": 2}, ["shard=3", "1 x 3 x 2 x 1 = 6", "has 8", "`shard=4` would fit"]),
        ({"shard": 2, "tensor": 2}, ["1 x 2 x 2 x 1 = 4", "`replicate=2` or `shard=4` or `tensor=4` would fit"]),
        ({"tensor": 3}, ["tensor=3", "shard='auto'", "3 processes or a multiple", "has 8"]),
    ],
)
def test_axes_that_dont_make_up_the_job_are_refused_before_launch(axes: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(MisconfigurationException) as refusal:
        Fabric(accelerator="cpu", devices=8, strategy=ModelParallelStrategy(plan=planned(**axes)))
    assert all(one in str(refusal.value) for one in named), refusal.value


@pytest.mark.parametrize(
    ("arguments", "kind", "named"),
    [
        ({"shard": 0}, MisconfigurationException, "`shard=0`"),
        ({"replicate": 1.5}, MisconfigurationException, "`replicate=1.5`"),
        ({"replicate": "auto"}, MisconfigurationException, "replicate and shard are 'auto'"),
        ({"tensor": 2, "tensor_styles": {}}, MisconfigurationException, "`tensor=2` .* `tensor_styles`"),
        ({"tensor_styles": {"up": "columnwise"}}, ValueError, "'columnwise' of `up`"),
        ({"tensor_styles": {"up": "rowwize"}}, ValueError, "Did you mean `rowwise`"),
        ({"tensor_styles": {"up": ColwiseParallel}}, TypeError, "style of `up`"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_when_its_made(
    arguments: dict[str, Any], kind: type[Exception], named: str
) -> None:
    with pytest.raises(kind, match=named):
        ParallelPlan(**arguments)


def test_an_axis_left_open_is_what_the_others_leave() -> None:
    strategy = ModelParallelStrategy(plan=planned(replicate=2, tensor=2))
    Fabric(accelerator="cpu", devices=8, strategy=strategy)
    assert strategy.distributed_sampler_kwargs == {"num_replicas": 4, "rank": 0}


def test_a_plan_beside_what_it_replaces_is_refused() -> None:
    with pytest.raises(MisconfigurationException, match="leave out `data_parallel_size`"):
        ModelParallelStrategy(plan=planned(tensor=2), tensor_parallel_size=2)
