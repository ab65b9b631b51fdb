from pathlib import Path
from typing import Any

import pytest
import torch
from fabric_pretence import ManyStrategy
from gathering_ranks import CounterOfRank, read_on_rank
from torch import nn
from torch.optim import SGD

from lt_fabric.assemble import assemble
from lt_fabric.hardware import resolve_hardware
from lt_fabric.local_checkpoint import LocalCheckpointIO
from lt_fabric.state_saving import StateSaving
from lt_interfaces import CheckpointTraits
from lt_interfaces.testing import TinyRegressor
from lt_interfaces.testing.ranks import run_in_processes


class Counter:
    """Something with a state."""

    def __init__(self, count: int) -> None:
        self.count = count

    def state_dict(self) -> dict[str, int]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.count = state["count"]


@pytest.fixture
def saving() -> StateSaving:
    return StateSaving(assemble(resolve_hardware(accelerator="cpu")), [])


def test_objects_at_any_depth_are_filled_in_place(saving: StateSaving) -> None:
    counter, model = Counter(3), TinyRegressor(seed=1)
    content = saving.read({"a": {"b": [counter, {"model": model}]}, "plain": [1, {"x": 2}]})
    assert content["a"]["b"][0] == {"count": 3}
    other, fresh = Counter(0), TinyRegressor(seed=2)
    inner = [other, {"model": fresh}]
    state: dict[str, Any] = {"a": {"b": inner}, "plain": None}
    assert saving.fill(state, content) == {}
    assert other.count == 3
    assert torch.equal(fresh.output.weight, model.output.weight)
    assert state["a"]["b"][0] is other
    assert state["plain"] == [1, {"x": 2}]


def test_what_each_rank_has_of_its_own_is_offered_the_states_of_all(saving: StateSaving) -> None:
    counter = CounterOfRank(3)
    content = saving.read({"counter": counter})
    assert content == {"counter": {"count": 3}}, "one process saves its state as it is"
    for saved in (content["counter"], {"ranks": [{"count": 1}, {"count": 2}]}):
        other = CounterOfRank(0)
        saving.fill({"counter": other}, {"counter": saved})
        assert (other.count, other.seen_by) == (3, (0, 1))


def test_states_of_all_ranks_are_saved_where_there_are_several() -> None:
    assert run_in_processes(read_on_rank) == [{"counter": {"ranks": [{"count": 0}, {"count": 1}]}}] * 2


def test_what_has_no_place_is_returned(saving: StateSaving) -> None:
    assert saving.fill({"epoch": 0}, {"epoch": 1, "best": 2}) == {"best": 2}


def test_a_missing_key_fills_nothing(saving: StateSaving) -> None:
    counter = Counter(0)
    with pytest.raises(KeyError, match=r"lacks \['epoch'\].*`strict=False`"):
        saving.fill({"counter": counter, "epoch": 0}, {"counter": {"count": 3}})
    assert counter.count == 0


def test_without_strictness_missing_keys_stay_as_they_are(saving: StateSaving) -> None:
    state: dict[str, Any] = {"counter": Counter(0), "epoch": 5}
    saving.fill(state, {"counter": {"count": 3}}, strict=False)
    assert (state["counter"].count, state["epoch"]) == (3, 5)


def test_lists_of_objects_must_be_equally_long(saving: StateSaving) -> None:
    with pytest.raises(ValueError, match="2 objects where the checkpoint has 1"):
        saving.fill({"all": [Counter(0), Counter(0)]}, {"all": [{"count": 1}]})


def test_strictness_reaches_modules(saving: StateSaving) -> None:
    content = {"model": {"output.bias": torch.zeros(1)}}
    with pytest.raises(RuntimeError, match="missing from the checkpoint"):
        saving.fill({"model": TinyRegressor()}, content)
    saving.fill({"model": TinyRegressor()}, content, strict=False)


def test_values_come_back_as_what_they_were_from_a_file_that_loads_without_pickle(
    saving: StateSaving, tmp_path: Path
) -> None:
    module = nn.Sequential(nn.BatchNorm1d(2))
    state = {"root": Path("data"), "nested": {Path("a"): (1, [Path("b")])}, "model": module}
    saving.save(tmp_path / "a.ckpt", state)
    torch.load(tmp_path / "a.ckpt", weights_only=True)
    content = saving.open(tmp_path / "a.ckpt", weights_only=None)
    assert content["model"]._metadata == module.state_dict()._metadata
    del content["model"], state["model"]
    assert content == state


def test_a_value_that_no_checkpoint_can_hold_is_refused_and_the_file_stays(saving: StateSaving, tmp_path: Path) -> None:
    saving.save(tmp_path / "a.ckpt", {"epoch": 1})
    with pytest.raises(TypeError, match=r"`state\['data'\]\['transform'\]` is <function"):
        saving.save(tmp_path / "a.ckpt", {"epoch": 2, "data": {"transform": lambda: None}})
    assert saving.open(tmp_path / "a.ckpt", weights_only=None) == {"epoch": 1}


def test_a_filter_keeps_some_entries(saving: StateSaving) -> None:
    content = saving.read({"model": TinyRegressor(), "epoch": 1}, {"model": lambda name, _: name.endswith("bias")})
    assert set(content["model"]) == {"hidden.bias", "output.bias"}
    assert content["epoch"] == 1


@pytest.mark.parametrize("keep", [[1], {"model": 1}, "model"])
def test_a_filter_is_a_dict_of_functions(saving: StateSaving, keep: Any) -> None:
    with pytest.raises(TypeError, match="`filter`"):
        saving.read({"model": TinyRegressor()}, keep)


def test_a_filter_names_keys_of_the_state(saving: StateSaving) -> None:
    with pytest.raises(ValueError, match=r"`filter` names \['modle'\]"):
        saving.read({"model": TinyRegressor()}, {"modle": lambda *_: True})


def test_a_state_is_a_dict(saving: StateSaving, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="`state` must be a dict"):
        saving.save(tmp_path / "a.ckpt", [1])  # type: ignore[arg-type]  # the mistake under test


def test_a_single_object_that_cannot_be_filled_is_refused(saving: StateSaving) -> None:
    with pytest.raises(TypeError, match="`obj`"):
        saving.load(object(), {})


def test_an_optimizers_state_is_asked_of_the_strategy_with_its_module() -> None:
    asked = []

    class Asking(ManyStrategy):
        def optimizer_state(self, module: nn.Module, optimizer: Any) -> dict[str, Any]:
            asked.append(module)
            return super().optimizer_state(module, optimizer)

    module, other = TinyRegressor(), TinyRegressor()
    saving = StateSaving(assemble(resolve_hardware(accelerator="cpu", strategy=Asking())), [other, module])
    saving.read({"optimizer": SGD(module.parameters(), lr=0.1), "own": SGD([nn.Parameter(torch.ones(1))], lr=0.1)})
    assert asked == [module]


@pytest.mark.parametrize("sharded", [True, False])
def test_other_ranks_write_only_parts_of_their_own(tmp_path: Path, sharded: bool) -> None:
    class RankOne(ManyStrategy):
        is_global_zero = False  # type: ignore[assignment]  # a rank that isn't zero

    class Sharding(LocalCheckpointIO):
        @property
        def traits(self) -> CheckpointTraits:
            return CheckpointTraits(sharded=sharded)

    strategy = RankOne()
    runtime = assemble(resolve_hardware(accelerator="cpu", strategy=strategy, plugins=Sharding()))
    StateSaving(runtime, []).save(tmp_path / "a.ckpt", {"epoch": 1})
    assert (tmp_path / "a.ckpt").exists() is sharded
    assert strategy.barriers == ["save"]
