"""The Trainer and Fabric with ranks that compute layers together, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from small_transformer import Transformer, letters
from tensor_jobs import (
    fitted_and_resumed,
    fitted_with_dropout,
    refusals,
    samples_by_rank,
    with_fabric,
)
from tensor_ranks import connected
from torch.distributed.fsdp import FullyShardedDataParallel, ShardingStrategy

from lt_fabric import Fabric
from lt_fabric.full_precision import FullPrecision
from lt_fsdp import ModelParallelStrategy
from lt_interfaces import MisconfigurationException, PrecisionDtypes
from lt_interfaces.testing.ranks import run_in_processes


def test_a_fit_on_two_ranks_is_that_of_one_process_and_resumes_exactly(tmp_path: Path) -> None:
    alone = fitted_and_resumed(1, str(tmp_path))
    for rank in run_in_processes(fitted_and_resumed, 2, str(tmp_path)):
        assert rank["losses"] == pytest.approx(alone["losses"], rel=0, abs=1e-5)
        assert rank["validated"] == pytest.approx(alone["validated"], rel=0, abs=1e-5)
        assert rank["is folder"]
        assert rank["divided"] > 0
        assert rank["resumed"] == rank["at once"][5:]


def test_ranks_of_one_layer_see_the_same_samples_and_drop_the_same(tmp_path: Path) -> None:
    one, other = run_in_processes(fitted_with_dropout, str(tmp_path))
    assert one == other


def test_an_epoch_is_shared_out_over_data_parallel_ranks_alone(tmp_path: Path) -> None:
    found = run_in_processes(samples_by_rank, str(tmp_path), world_size=4)
    every = [int(rows[0]) for number in range(5) for rows in letters(number)]
    assert found[0] == found[1] != found[2] == found[3]
    assert sorted(found[0] + found[2]) == sorted(every * 2)  # each once to train, and each once to validate


@pytest.mark.parametrize("is_optimizer_first", [False, True])
def test_a_loop_of_ones_own_divides_saves_and_goes_on(tmp_path: Path, is_optimizer_first: bool) -> None:
    for going_on, resumed, is_divided in run_in_processes(with_fabric, str(tmp_path), is_optimizer_first):
        assert is_divided
        assert resumed == pytest.approx(going_on, rel=0, abs=1e-6)


def test_what_nobody_divided_is_refused_with_the_way_to_do_it() -> None:
    for undivided, replaced in run_in_processes(refusals):
        assert "tensor_parallel_size=2" in undivided
        assert "configure_model" in undivided
        assert "parallelize_fn" in undivided
        assert "returned another module, a Linear" in replaced


@pytest.mark.parametrize(
    ("data", "tensor", "named"),
    [
        (3, 4, ["data_parallel_size=3", "tensor_parallel_size=4", "3 x 4 = 12", "has 8"]),
        (3, "auto", ["data_parallel_size=3", "tensor_parallel_size='auto'", "has 8"]),
        (0, 4, ["data_parallel_size=0", "at least 1"]),
        (2, "all", ["tensor_parallel_size='all'", "'auto'"]),
    ],
)
def test_sizes_that_dont_make_up_the_job_are_refused_before_launch(data: Any, tensor: Any, named: list[str]) -> None:
    strategy = ModelParallelStrategy(data_parallel_size=data, tensor_parallel_size=tensor)
    with pytest.raises(MisconfigurationException) as refusal:
        Fabric(accelerator="cpu", devices=8, strategy=strategy)
    assert all(one in str(refusal.value) for one in named)


@pytest.mark.parametrize(("asked", "found"), [(("auto", "auto"), 1), ((4, "auto"), 4), (("auto", 4), 2)])
def test_a_size_left_open_is_what_the_job_leaves(asked: tuple[Any, Any], found: int) -> None:
    strategy = ModelParallelStrategy(data_parallel_size=asked[0], tensor_parallel_size=asked[1])
    Fabric(accelerator="cpu", devices=8, strategy=strategy)
    assert strategy.distributed_sampler_kwargs == {"num_replicas": found, "rank": 0}


class Toy(FullPrecision):
    """A precision that no list knows, and what it says of itself."""

    def __init__(self, **answers: bool) -> None:
        super().__init__()
        self._dtypes = PrecisionDtypes(**answers)

    @property
    def precision(self) -> str:
        """The name."""
        return "toy-true"

    def dtypes(self) -> PrecisionDtypes:
        """As given."""
        return self._dtypes


@pytest.mark.parametrize("precision", [Toy(is_shardable=False), Toy(scales_loss=True)])
def test_a_precision_it_cant_have_is_refused_before_launch(precision: Toy) -> None:
    with pytest.raises(ValueError, match="toy-true") as refusal:
        Fabric(accelerator="cpu", devices=2, strategy=ModelParallelStrategy(), plugins=[precision])
    assert "ModelParallelStrategy" in str(refusal.value)


def test_other_precisions_are_taken() -> None:
    assert Fabric(accelerator="cpu", devices=2, strategy=ModelParallelStrategy(), plugins=[Toy()])


def test_sizes_by_position_are_refused() -> None:
    with pytest.raises(TypeError, match="by name"):
        ModelParallelStrategy(2)


def test_the_mesh_is_there_once_processes_have_met() -> None:
    strategy = ModelParallelStrategy()
    Fabric(accelerator="cpu", devices=2, strategy=strategy)
    with pytest.raises(RuntimeError, match="configure_model"):
        strategy.device_mesh  # noqa: B018


def test_a_module_in_fsdps_first_version_is_refused_with_what_replaces_it() -> None:
    strategy = connected(1)
    try:
        alone, device = ShardingStrategy.NO_SHARD, torch.device("cpu")
        wrapped = FullyShardedDataParallel(Transformer(), sharding_strategy=alone, device_id=device)
        with pytest.raises(TypeError, match="fully_shard"):
            strategy.setup(wrapped, None)
    finally:
        strategy.teardown()
        strategy._job._group.leave()
