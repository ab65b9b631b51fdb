"""What DDPStrategy's arguments do, on two ranks; the promises of all strategies are in test_ddp_contract.py."""

from pathlib import Path
from typing import Any

import ddp_checks
import pytest
import torch

from lt_core import Trainer
from lt_interfaces import Capability, MisconfigurationException
from lt_interfaces.testing import run_in_processes
from lt_strategies.ddp import DDPStrategy


@pytest.mark.parametrize(
    "argument", ["accelerator", "parallel_devices", "cluster_environment", "checkpoint_io", "precision"]
)
def test_parts_of_a_run_are_refused_with_the_argument_to_use(argument: str) -> None:
    with pytest.raises(MisconfigurationException, match=f"DDPStrategy.{argument}.*give it to the Trainer"):
        DDPStrategy(**{argument: object()})


def test_windows_are_not_saved_and_manual_optimization_is_supported() -> None:
    strategy = DDPStrategy()
    assert not strategy.supports(Capability.SAVING_IN_WINDOW)
    assert strategy.supports(Capability.MANUAL_OPTIMIZATION)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"static_graph": True},
        {"gradient_as_bucket_view": True},
        {"broadcast_buffers": False, "bucket_cap_mb": 1},
        {"find_unused_parameters": True},
    ],
)
def test_gradients_are_averaged_with_any_argument(arguments: dict[str, Any]) -> None:
    assert run_in_processes(ddp_checks.gradients_with, arguments, {"steps": 2}) == [[2.0, 2.0]] * 2


def test_unused_parameters_are_found_when_asked() -> None:
    options = {"uses": "first", "steps": 2}
    found = run_in_processes(ddp_checks.gradients_with, {"find_unused_parameters": True}, options)
    assert found == [[2.0, None]] * 2


def test_unused_parameters_are_found_in_manual_optimization_with_several_optimizers() -> None:
    options = {"uses": "first", "steps": 2, "by_hand": True}
    assert run_in_processes(ddp_checks.gradients_with, {}, options) == [[2.0, None]] * 2


def test_who_has_unused_parameters_is_told_what_to_do() -> None:
    for told in run_in_processes(ddp_checks.unused_parameter):
        assert "ddp_find_unused_parameters_true" in told


def test_gradients_travel_as_hook_and_wrapper_say() -> None:
    for found in run_in_processes(ddp_checks.with_hooks):
        assert found == [[4096.0, 4096.0]] * 2


def test_weights_of_local_steps_are_averaged_every_so_many() -> None:
    # Gradients are 1 and 3. Step 0 and 1 average them (torch's hook counts to its start), then weights are averaged
    # after steps 1, 3 and 5 of those counted from 0.
    first, second = run_in_processes(ddp_checks.weights_of_local_sgd)
    assert first[0] == second[0] == -2.0
    assert [one == other for one, other in zip(first, second, strict=True)] == [True, True, False, True, False]
    assert first[3] == -8.0


def test_state_of_a_sharded_optimizer_is_whole_on_rank_0_and_goes_on() -> None:
    assert run_in_processes(ddp_checks.zero_state) == [(4, True), (0, True)]


def test_process_group_serves_the_next_fit_and_the_code_after_it(tmp_path: Path) -> None:
    assert run_in_processes(ddp_checks.two_fits, str(tmp_path)) == [(True, True)] * 2


def test_process_group_of_the_program_is_used_and_left_alone(tmp_path: Path) -> None:
    assert run_in_processes(ddp_checks.own_group, str(tmp_path)) == [True, True]


def test_process_group_of_the_program_with_other_ranks_is_refused(tmp_path: Path) -> None:
    first, second = run_in_processes(ddp_checks.own_group_of_other_order, str(tmp_path))
    assert "this process has rank 1 of 2, but the run has rank 0 of 2" in first
    assert "this process has rank 0 of 2, but the run has rank 1 of 2" in second


def test_more_ranks_than_devices_are_refused() -> None:
    _, told = run_in_processes(ddp_checks.too_many)
    assert "local rank 1, but `devices` names 1" in told


def test_batch_norm_over_ranks_is_refused_on_the_cpu() -> None:
    with pytest.raises(MisconfigurationException, match=r"sync_batchnorm=True.*cpu"):
        Trainer(accelerator="cpu", devices=2, strategy="ddp", sync_batchnorm=True).fit(
            ddp_checks.Net(), [torch.ones(1)]
        )
