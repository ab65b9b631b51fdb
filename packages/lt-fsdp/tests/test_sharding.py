"""What sharding does to models, on two ranks."""

from pathlib import Path

import pytest
import sharded_models

from lt_interfaces.testing.ranks import run_in_processes


def test_each_rank_holds_about_half_of_parameters_and_optimizer_state() -> None:
    for own, alone in run_in_processes(sharded_models.bytes_after_a_step):
        assert alone > 100_000
        assert own <= 0.55 * alone


@pytest.mark.parametrize("empty_init", [None, True])
def test_a_model_on_meta_is_built_without_ever_holding_more_than_its_shards_and_one_unit(
    empty_init: bool | None,
) -> None:
    for most, shards, largest_unit, _ in run_in_processes(build_from_meta, empty_init):
        assert most <= shards + largest_unit
        assert shards > 3 * largest_unit / 2


def build_from_meta(empty_init: bool | None) -> tuple[int, int, int, bool]:
    return sharded_models.most_bytes_while_built_from_meta(empty_init=empty_init)


def test_a_model_on_meta_gets_its_layers_own_first_values_the_same_on_all_ranks() -> None:
    first, second = run_in_processes(sharded_models.weights_built_from_meta)
    assert first == second
    assert len(set(first)) == len(first), "every layer was filled"


def test_weights_loaded_into_a_model_on_meta_are_not_lost_in_silence() -> None:
    for said, notes, are_there in run_in_processes(sharded_models.pretrained_on_meta):
        assert "no-op" in said
        assert "`assign=True`" in notes[0]
        assert are_there


def test_models_that_cannot_be_sharded_are_refused_with_the_way_out() -> None:
    for said in run_in_processes(sharded_models.failures):
        assert "`blocks.0.weight`, `blocks.1.weight`" in said["tied"]
        assert "`blocks.0` and `blocks.1`" in said["tied"]
        assert "`auto_wrap_policy`" in said["tied"]
        assert "Unfillable was made on the meta device and has no `reset_parameters`" in said["on meta"]
        assert "`scale`" in said["manual"]
        assert "manual optimization" in said["manual"]
        assert "holds a parameter of the shape (3,) that no module" in said["foreign"]


def test_a_step_that_calls_its_own_module_twice_is_right_though_that_has_parameters_of_its_own() -> None:
    for sharded, plain in run_in_processes(sharded_models.steps_of_a_module_with_own_parameters):
        assert sharded == pytest.approx(plain, rel=1e-5)


def test_ignored_parameters_stay_whole() -> None:
    assert run_in_processes(sharded_models.ignored_stays_whole) == [(False, True)] * 2


def test_ignored_parameters_that_train_are_refused_by_name() -> None:
    for message in run_in_processes(sharded_models.train_ignored):
        assert "first.weight" in message
        assert "requires_grad_(False)" in message


def test_recomputed_layers_keep_their_names_and_gradients() -> None:
    for recomputed, kept, norm, expected in run_in_processes(sharded_models.names_of_recomputed_layers):
        assert recomputed == kept
        assert norm == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("state_dict_type", ["full", "sharded"])
@pytest.mark.parametrize("order", ["together", "module first", "optimizer first", "from meta"])
def test_loops_of_ones_own_set_up_in_any_order_and_go_on_from_what_they_saved(
    tmp_path: Path, order: str, state_dict_type: str
) -> None:
    ranks = run_in_processes(sharded_models.train_with_fabric, str(tmp_path), order, state_dict_type)
    for going_on, again in ranks:
        assert going_on == again
        assert len(set(going_on)) == 2
    assert (tmp_path / f"{order}.ckpt").is_dir() is (state_dict_type == "sharded")
