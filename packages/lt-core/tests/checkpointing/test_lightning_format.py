"""Lightning's counters, written and read; files of a real Lightning are in `interchange_tests`."""

import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_core.checkpointing.lightning_format import loops_from, progress_from
from lt_interfaces.progress import FitProgress

counts = st.integers(0, 1000)


@given(counts, counts, counts, st.booleans(), st.booleans())
def test_counters_come_back_from_the_nested_ones(
    epochs: int, batches: int, steps: int, is_last_batch: bool, is_open: bool
) -> None:
    progress = FitProgress(
        epochs_processed=epochs,
        epochs_completed=epochs,
        batches=epochs + batches,
        batches_in_epoch=batches,
        batches_that_stepped=steps,
        steps=[steps],
        is_last_batch=is_last_batch and batches > 0,
        is_batch_open=batches > 0 and (is_last_batch or is_open),
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The checkpoint was saved by Lightning in the middle")
        assert progress_from(_file(progress), 1) == progress


def test_an_epoch_that_was_ending_is_over() -> None:
    progress = FitProgress(epochs_processed=3, epochs_completed=2, batches=12, batches_in_epoch=4, is_last_batch=True)
    loaded = progress_from(_file(progress), 1)
    assert (loaded.epochs_completed, loaded.epochs_processed, loaded.batches_in_epoch) == (3, 3, 0)
    assert not loaded.is_batch_open


def test_middle_of_an_epoch_warns() -> None:
    with pytest.warns(UserWarning, match=r"after 2 of its batches.*random generators.*aren't in the file"):
        progress_from(_file(FitProgress(batches=6, batches_in_epoch=2)), 1)


def test_step_of_the_batch_whose_hooks_run_isnt_counted_yet() -> None:
    progress = FitProgress(
        batches=6, batches_in_epoch=2, batches_that_stepped=6, steps=[6], is_batch_open=True, last_batch_stepped=True
    )
    loops = loops_from(progress)["fit_loop"]
    assert loops["epoch_loop.state_dict"] == {"_batches_that_stepped": 5}
    assert loops["epoch_loop.batch_progress"]["current"] == {"ready": 2, "started": 2, "processed": 2, "completed": 1}
    with pytest.warns(UserWarning, match="in the middle of an epoch"):
        assert progress_from(_file(progress), 1).batches_that_stepped == 6


def test_batch_counts_as_completed_when_its_validation_runs() -> None:
    progress = FitProgress(batches=6, batches_in_epoch=2, is_batch_open=True, validated_at=6)
    assert loops_from(progress)["fit_loop"]["epoch_loop.batch_progress"]["current"]["completed"] == 2


def test_last_batch_counts_as_stepped_where_a_module_steps_by_itself() -> None:
    file = _file(FitProgress(batches=4, batches_in_epoch=4, batches_that_stepped=3, steps=[2], is_last_batch=True))
    steps = file["loops"]["fit_loop"]["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]
    steps["total"]["completed"] = 0
    loaded = progress_from(file, 2)
    assert (loaded.batches_that_stepped, loaded.steps, loaded.is_batch_open) == (4, [2, 0], True)


def test_counters_without_loops_are_those_of_the_file() -> None:
    progress = progress_from({"epoch": 3, "global_step": 12}, 2)
    assert (progress.epochs_completed, progress.epochs_processed, progress.steps) == (3, 3, [12, 0])


def _file(progress: FitProgress) -> dict[str, Any]:
    loops = loops_from(progress)
    return {"epoch": progress.epochs_completed, "global_step": progress.global_step, "loops": loops}
