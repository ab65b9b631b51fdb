"""Trainer and Fabric train under DeepSpeed as they do elsewhere."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import front_door_ranks
import pytest
import torch
from language_model import LanguageModel, adamw, trained_alone

from lt_interfaces.testing import run_in_processes

pytestmark = pytest.mark.timeout(300)


def with_schedule(steps: int) -> list[float]:
    """Return the losses of one process whose learning rate falls every third step."""
    module = LanguageModel()
    optimizer = adamw(module)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    losses = []
    for step in range(steps):
        losses += [loss for loss, _ in trained_alone(1, clip=0.5, start=step, module=module, optimizer=optimizer)]
        schedule.step()
    return losses


FITS: list[dict[str, Any]] = [
    *({"stage": stage} for stage in (1, 2, 3)),
    *({"stage": stage, "by_hand": True} for stage in (1, 2, 3)),
    *({"stage": stage, "micro": 2} for stage in (1, 2, 3)),
]


@pytest.fixture(scope="module")
def fits(tmp_path_factory: pytest.TempPathFactory) -> list[list[float]]:
    folder = str(tmp_path_factory.mktemp("fits"))
    losses: list[list[float]] = run_in_processes(front_door_ranks.fits, folder, FITS, timeout_seconds=250)[0]
    return losses


@pytest.mark.parametrize("case", range(len(FITS)), ids=[str(case) for case in FITS])
def test_trainer_fits_as_one_process_does(fits: list[list[float]], case: int) -> None:
    found = torch.tensor(fits[case]).view(10, -1).mean(1).tolist()
    assert found == pytest.approx(with_schedule(10), rel=0, abs=1e-5)


SAVED: list[dict[str, Any]] = [
    {"stage": stage, "state_dict_type": kind} for kind in ("full", "sharded") for stage in (2, 3)
]


def test_trainer_resumes_exactly(tmp_path: Path) -> None:
    for rank in run_in_processes(front_door_ranks.resumed_fits, str(tmp_path), SAVED, timeout_seconds=200):
        for case in rank:
            assert case["whole"][4:] == case["resumed"]
    for number, case in enumerate(SAVED):
        assert Path(tmp_path, str(number), "saved.ckpt").is_dir() is (case["state_dict_type"] == "sharded")


def test_full_checkpoint_of_a_fit_is_an_ordinary_file(tmp_path: Path) -> None:
    cases = [{"stage": 3}]
    (found,) = run_in_processes(front_door_ranks.resumed_fits, str(tmp_path), cases, timeout_seconds=100)[0]
    content = torch.load(tmp_path / "0/saved.ckpt", weights_only=True)
    module = front_door_ranks.Trained(seed=5)
    module.load_state_dict(content["state_dict"])
    optimizer = adamw(module)
    optimizer.load_state_dict(content["optimizer_states"][0])
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    schedule.load_state_dict(content["lr_schedulers"][0])
    losses = []
    for step in range(4, 8):
        alone = trained_alone(1, clip=0.5, start=step, module=module.model, optimizer=optimizer)
        losses += [loss for loss, _ in alone]
        schedule.step()
    assert losses == pytest.approx(found["whole"][4:], rel=0, abs=1e-5)


def test_evaluation_sees_the_trained_weights_wherever_they_come_from(tmp_path: Path) -> None:
    for case in run_in_processes(front_door_ranks.evaluated, str(tmp_path), SAVED, timeout_seconds=200)[0]:
        assert case["within"] == case["after"] == case["fresh"]
        assert len(case["within"]) == 2


def test_loops_of_ones_own_train_as_one_process_does() -> None:
    options: list[dict[str, Any]] = [{"order": "together", "micro": 2}, {"order": "module first"}, {"order": "other"}]
    cases = [({"stage": stage}, one) for stage in (1, 2, 3) for one in options]
    expected = list(trained_alone(5, clip=0.5))
    for losses in run_in_processes(front_door_ranks.loops_of_ones_own, cases, timeout_seconds=250)[0]:
        assert [loss for loss, _ in losses] == pytest.approx([loss for loss, _ in expected], rel=0, abs=1e-5)
        assert [norm for _, norm in losses] == pytest.approx([norm for _, norm in expected], rel=1e-5)


def test_fabric_saves_and_loads_exactly(tmp_path: Path) -> None:
    unclipped = [loss for loss, _ in trained_alone(6)][3:]
    for on, again in run_in_processes(front_door_ranks.saved_by_fabric, str(tmp_path), SAVED, timeout_seconds=200)[0]:
        assert on == again
        assert on == pytest.approx(unclipped, rel=0, abs=1e-5)


@pytest.mark.parametrize(
    ("what", "named"),
    [
        ("two optimizers", "trains a module with one optimizer, and there are 2"),
        ("a second whole backward", "within `no_backward_sync(module)`"),
        ("an optimizer of whole parameters", "Adafactor, which needs whole parameters"),
    ],
)
def test_what_engines_cannot_do_is_refused(tmp_path: Path, what: str, named: str) -> None:
    told = run_in_processes(front_door_ranks.refused, str(tmp_path), what, timeout_seconds=60)
    assert any(named in one for one in told)


def test_a_script_trains_by_name(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from front_door_ranks import QUIET, Trained, text\n"
        "from lt_core import Trainer\n"
        "module = Trained()\n"
        "trainer = Trainer(accelerator='cpu', devices=2, strategy='deepspeed_stage_3', max_steps=2, **QUIET)\n"
        "trainer.fit(module, text(2))\n"
        "trainer.save_checkpoint('saved.ckpt')\n"
    )
    subprocess.run([sys.executable, str(script)], check=True, timeout=120, cwd=tmp_path)
    front_door_ranks.Trained(1).load_state_dict(torch.load(tmp_path / "saved.ckpt", weights_only=True)["state_dict"])
