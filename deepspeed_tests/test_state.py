"""States that lie in an engine's shards go to files that everything loads, and come back exactly."""

from pathlib import Path
from typing import Any

import engine_ranks
import pytest
import torch
from language_model import LanguageModel, adamw, trained_alone

from lt_deepspeed import DeepSpeedCheckpointIO, convert_zero_checkpoint_to_fp32_state_dict
from lt_deepspeed.consolidation import main
from lt_interfaces.commit import is_whole
from lt_interfaces.testing import run_in_processes

CASES: list[dict[str, Any]] = [
    *({"stage": stage} for stage in (1, 2, 3)),
    *({"stage": stage, "bf16": True} for stage in (1, 2, 3)),
    *({"stage": stage, "offload_optimizer": True} for stage in (1, 2, 3)),
    {"stage": 3, "offload_optimizer": True, "offload_parameters": True},
    {"stage": 3, "sub_group_size": 20_000},
    *({"stage": stage, "frozen": True} for stage in (2, 3)),
]
IDS = [str(case) for case in CASES]
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def resumed() -> list[list[dict[str, Any]]]:
    found: list[list[dict[str, Any]]] = run_in_processes(engine_ranks.resuming, CASES, timeout_seconds=280)
    return found


@pytest.mark.parametrize("case", range(len(CASES)), ids=IDS)
def test_resume_is_exact(resumed: list[list[dict[str, Any]]], case: int) -> None:
    for rank in resumed:
        assert rank[case]["on"] == rank[case]["again"]
        assert rank[case]["same"]


@pytest.mark.parametrize("case", range(len(CASES)), ids=IDS)
def test_one_process_goes_on_from_a_full_state(resumed: list[list[dict[str, Any]]], case: int) -> None:
    weights, optimizer_state = resumed[0][case]["state"]
    module = LanguageModel(seed=5)
    module.places.requires_grad_("frozen" not in CASES[case])
    optimizer = adamw(module)
    module.load_state_dict(weights)
    optimizer.load_state_dict(optimizer_state)
    alone = [loss for loss, _ in trained_alone(5, clip=0.5, start=5, module=module, optimizer=optimizer)]
    tolerance = 5e-3 if "bf16" in CASES[case] else 1e-5
    assert [loss for loss, _ in resumed[0][case]["on"]] == pytest.approx(alone, rel=0, abs=tolerance)


def test_weights_of_bf16_are_saved_in_fp32(resumed: list[list[dict[str, Any]]]) -> None:
    for case, found in zip(CASES, resumed[0], strict=True):
        weights, optimizer_state = found["state"]
        assert all(value.dtype is torch.float32 for value in weights.values())
        assert all(state["exp_avg"].dtype is torch.float32 for state in optimizer_state["state"].values())
        if "bf16" in case:
            assert any((value != value.bfloat16().float()).any() for value in weights.values())


def test_training_in_bf16_follows_that_in_fp32(resumed: list[list[dict[str, Any]]]) -> None:
    expected = [loss for loss, _ in trained_alone(10, clip=0.5)]
    for case, found in zip(CASES, resumed[0], strict=True):
        if "bf16" in case:
            assert [loss for loss, _ in found["before"] + found["on"]] == pytest.approx(expected, rel=0, abs=2e-2)


def test_state_of_one_process_is_gone_on_from() -> None:
    module = LanguageModel()
    optimizer = adamw(module)
    list(trained_alone(5, clip=0.5, module=module, optimizer=optimizer))
    cases = [case for case in CASES if not {"bf16", "frozen"} & set(case)]
    state = (module.state_dict(), optimizer.state_dict())
    found = run_in_processes(engine_ranks.going_on, cases, state, timeout_seconds=200)[0]
    expected = [loss for loss, _ in trained_alone(10, clip=0.5)][5:]
    for losses in found:
        assert [loss for loss, _ in losses] == pytest.approx(expected, rel=0, abs=1e-5)


FOLDERS: list[dict[str, Any]] = [
    *({"stage": stage} for stage in (1, 2, 3)),
    {"stage": 2, "offload_optimizer": True},
    {"stage": 3, "offload_optimizer": True, "offload_parameters": True},
    {"stage": 3, "sub_group_size": 20_000},
    *({"stage": stage, "frozen": True, "bf16": True} for stage in (2, 3)),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("engines")
    found = run_in_processes(engine_ranks.in_folders, str(folder), FOLDERS, timeout_seconds=200)
    return folder, found[0]


def test_engines_own_folder_is_gone_on_from_exactly(folders: tuple[Path, list[dict[str, Any]]]) -> None:
    for found in folders[1]:
        assert found["on"] == found["again"]
        assert found["epoch"] == 1


def test_engines_own_folder_is_whole_only_with_all_its_files(folders: tuple[Path, list[dict[str, Any]]]) -> None:
    folder = folders[0] / "1"
    assert is_whole(folder, hashes=True)
    (shard,) = folder.glob("checkpoint/zero_pp_rank_1*")
    content = shard.read_bytes()
    shard.unlink()
    with pytest.raises(ValueError, match="isn't a whole checkpoint"):
        DeepSpeedCheckpointIO().load_checkpoint(folder)
    shard.write_bytes(content)


def test_consolidated_weights_are_the_engines(folders: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> None:
    for number, found in enumerate(folders[1]):
        file = tmp_path / f"{number}.ckpt"
        convert_zero_checkpoint_to_fp32_state_dict(folders[0] / str(number), file)
        content = torch.load(file, weights_only=True)
        LanguageModel().load_state_dict(found["weights"])
        for name, weights in found["weights"].items():
            assert torch.equal(content["state_dict"][name], weights)
        assert content["epoch"] == 1


def test_consolidated_state_of_the_optimizer_is_the_engines(
    folders: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    for number, found in enumerate(folders[1]):
        convert_zero_checkpoint_to_fp32_state_dict(folders[0] / str(number), tmp_path / f"{number}.ckpt")
        (state,) = torch.load(tmp_path / f"{number}.ckpt", weights_only=True)["optimizer_states"]
        expected = found["state"]
        assert state["param_groups"] == expected["param_groups"]
        assert list(state["state"]) == sorted(expected["state"])
        for parameter, held in expected["state"].items():
            assert held.keys() == state["state"][parameter].keys() == {"step", "exp_avg", "exp_avg_sq"}
            assert all(torch.equal(value, state["state"][parameter][key]) for key, value in held.items())


def test_consolidation_is_a_command(
    folders: tuple[Path, list[dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["consolidation", str(folders[0] / "2"), str(tmp_path / "weights.ckpt")])
    main()
    LanguageModel().load_state_dict(torch.load(tmp_path / "weights.ckpt", weights_only=True)["state_dict"])


def test_engines_state_is_written_by_nothing_else(tmp_path: Path) -> None:
    for told in run_in_processes(engine_ranks.written_by_others, str(tmp_path)):
        assert "DeepSpeedCheckpointIO" in told
    assert not list(tmp_path.iterdir())


def test_state_of_another_module_is_refused_with_its_keys() -> None:
    for told in run_in_processes(engine_ranks.other_modules, timeout_seconds=100):
        assert all("The weights don't fit `LanguageModel`" in message for message in told)
        assert all("`head.weight` (2, 64) instead of (257, 64)" in message for message in told)


def test_what_is_unfrozen_later_is_not_left_out_in_silence() -> None:
    for told in run_in_processes(engine_ranks.unfrozen):
        assert "has changed since `DeepSpeedStrategy` set it up" in told
