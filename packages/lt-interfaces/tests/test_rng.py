import io
import os
import random
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from lt_interfaces.rng import (
    capture_rng_state,
    isolate_rng,
    note_rng_state,
    reset_seed,
    restore_rng_state,
    seed_everything,
    seed_worker,
    share_draws,
)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.setenv(variable, "0")  # so that what a test sets is undone
        monkeypatch.delenv(variable)


def draw() -> tuple[float, float, float]:
    return random.gauss(0, 1), float(np.random.standard_normal()), float(torch.randn(1))


def test_same_seed_gives_the_same_draws_everywhere() -> None:
    assert seed_everything(7, verbose=False) == 7
    first = draw()
    seed_everything(7, verbose=False)
    assert draw() == first


def test_seed_is_left_for_processes_to_come(monkeypatch: pytest.MonkeyPatch) -> None:

    seed_everything(7, workers=False, verbose=False)
    assert (os.environ["PL_GLOBAL_SEED"], os.environ["PL_SEED_WORKERS"]) == ("7", "0")
    seed_everything(8, verbose=False)
    assert (os.environ["PL_GLOBAL_SEED"], os.environ["PL_SEED_WORKERS"]) == ("8", "1")


def test_environment_decides_when_no_seed_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "123")
    assert seed_everything(verbose=False) == 123


def test_processes_that_share_draws_draw_the_same_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lt_interfaces.rng._shared_draws", [])

    def drawn_after(shared: int) -> list[int]:
        share_draws(shared)
        seeds = []
        for _ in range(2):
            monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
            seeds.append(seed_everything(verbose=False))
        return seeds

    assert drawn_after(3) == drawn_after(3) != drawn_after(4)


def test_a_drawn_seed_is_announced_and_differs(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = seed_everything()
    assert str(first) in caplog.text
    assert "drawn at random" in caplog.text
    monkeypatch.delenv("PL_GLOBAL_SEED")
    assert seed_everything(verbose=False) != first


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seed_out_of_bounds_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match=r"`seed` must be.*4294967295.*" + str(seed)):
        seed_everything(seed)


def test_seed_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TypeError):
        seed_everything(1.5)  # type: ignore[arg-type]
    monkeypatch.setenv("PL_GLOBAL_SEED", "abc")
    with pytest.raises(ValueError, match=r"PL_GLOBAL_SEED.*'abc'"):
        seed_everything()


def test_bounds_themselves_are_accepted() -> None:
    assert seed_everything(0, verbose=False) == 0
    assert seed_everything(2**32 - 1, verbose=False) == 2**32 - 1


def test_reset_repeats_the_last_seeding_and_keeps_the_workers_choice(monkeypatch: pytest.MonkeyPatch) -> None:

    seed_everything(7, workers=False, verbose=False)
    first = draw()
    reset_seed()
    assert draw() == first
    assert os.environ["PL_SEED_WORKERS"] == "0"


def test_reset_without_a_seeding_changes_nothing() -> None:
    before = torch.get_rng_state()
    reset_seed()
    assert torch.equal(before, torch.get_rng_state())


def test_state_survives_a_pickle_free_file() -> None:
    draw()  # leaves half of a pair of gaussians behind in every generator
    buffer = io.BytesIO()
    torch.save(capture_rng_state(), buffer)
    expected = [draw() for _ in range(3)]
    buffer.seek(0)
    restore_rng_state(torch.load(buffer, weights_only=True))
    assert [draw() for _ in range(3)] == expected


def test_states_of_devices_this_machine_lacks_are_left_out() -> None:
    state: dict[str, Any] = capture_rng_state() | {"cuda": [torch.zeros(16, dtype=torch.uint8)] * 99}
    if not torch.cuda.is_available():
        restore_rng_state(state)


def test_isolation_holds_also_when_the_block_raises() -> None:
    state = capture_rng_state()
    expected = draw()
    restore_rng_state(state)
    with pytest.raises(RuntimeError, match=r"inside"), isolate_rng():
        _fail_after_drawing()
    assert draw() == expected


def _fail_after_drawing() -> None:
    draw()
    message = "inside"
    raise RuntimeError(message)


def test_worker_streams_differ_between_workers_ranks_and_generators() -> None:
    seen = set()
    with isolate_rng():
        for worker, rank in [(0, 0), (1, 0), (0, 1), (1, 1)]:
            torch.manual_seed(99 + worker)
            seed_worker(worker, rank)
            seen |= {random.random(), float(np.random.random()), float(torch.rand(1, dtype=torch.float64))}
    assert len(seen) == 12


class Draws(Dataset[tuple[float, float, float]]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[float, float, float]:
        return draw()


def test_loader_workers_repeat_with_the_base_seed_and_differ_among_themselves() -> None:
    def run() -> list[float]:
        generator = torch.Generator().manual_seed(5)
        loader = DataLoader(Draws(), 1, num_workers=2, worker_init_fn=seed_worker, generator=generator)
        return [float(value) for batch in loader for value in batch]

    first = run()
    assert run() == first
    assert len(set(first)) == 12


def test_import_loads_no_numpy_that_torch_did_not() -> None:
    code = (
        "import sys, torch; before = set(sys.modules); import lt_interfaces.rng; "
        "print([name for name in set(sys.modules) - before if name.split('.')[0] == 'numpy'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_noted_state_is_that_of_the_moment_however_late_it_is_looked_at() -> None:
    seed_everything(3, verbose=False)
    noted, captured = note_rng_state(), capture_rng_state()
    expected = random.random(), np.random.rand(), torch.rand(2).tolist()
    plain = noted()
    assert set(plain) == set(captured)
    restore_rng_state(plain)
    assert (random.random(), np.random.rand(), torch.rand(2).tolist()) == expected
