import io
from dataclasses import fields

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lt_interfaces.progress import EvaluationProgress, FitProgress


def through_a_file(progress: FitProgress) -> FitProgress:
    """Save and load as a checkpoint does, without unpickling objects."""
    file = io.BytesIO()
    torch.save(progress.state_dict(), file)
    file.seek(0)
    restored = FitProgress()
    restored.load_state_dict(torch.load(file, weights_only=True))
    return restored


class Training(RuleBasedStateMachine):
    """Counts along by hand, and is saved and resumed at any moment."""

    @initialize(optimizers=st.integers(1, 3))
    def begin(self, optimizers: int) -> None:
        self.progress = FitProgress(steps=[0] * optimizers)
        self.batches = [0]
        self.steps = [0] * optimizers
        self.stepped = 0

    @rule(stepped=st.booleans(), is_last=st.booleans())
    def batch(self, stepped: bool, is_last: bool) -> None:
        self.progress.is_last_batch = is_last
        self.progress.count_batch(stepped=stepped)
        self.batches[-1] += 1
        self.stepped += stepped

    @rule(optimizer=st.integers(0, 2))
    def step(self, optimizer: int) -> None:
        optimizer %= len(self.steps)
        self.progress.count_step(optimizer)
        self.steps[optimizer] += 1

    @rule()
    def epoch(self) -> None:
        self.progress.start_epoch()
        self.batches.append(0)

    @rule()
    def resume(self) -> None:
        saved = self.progress
        self.progress = through_a_file(saved)
        assert self.progress == saved
        saved.steps[0] += 100  # what was saved doesn't hang together with what was loaded

    @invariant()
    def counts_are_those_kept_by_hand(self) -> None:
        assert self.progress.batches == sum(self.batches)
        assert self.progress.batches_in_epoch == self.batches[-1]
        assert self.progress.batches_that_stepped == self.stepped
        assert self.progress.steps == self.steps
        assert self.progress.global_step == sum(self.steps)


Training.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestTraining = Training.TestCase


def test_state_holds_every_counter_and_no_other() -> None:
    assert set(FitProgress().state_dict()) == {counter.name for counter in fields(FitProgress)}


def test_state_does_not_change_with_the_run() -> None:
    progress = FitProgress(steps=[1])
    state = progress.state_dict()
    progress.count_step(0)
    assert state["steps"] == [1]


def test_loading_does_not_share_the_list_of_steps() -> None:
    state = {"steps": [1]}
    progress = FitProgress()
    progress.load_state_dict(state)
    progress.count_step(0)
    assert state == {"steps": [1]}


def test_an_older_state_leaves_newer_counters_alone() -> None:
    progress = FitProgress(batches=3)
    progress.load_state_dict({"epochs_completed": 2})
    assert (progress.batches, progress.epochs_completed) == (3, 2)


def test_a_newer_state_is_refused_whole_and_the_counter_named() -> None:
    progress = FitProgress()
    with pytest.raises(ValueError, match=r"samples.*this version knows"):
        progress.load_state_dict({"epochs_completed": 2, "samples": 7})
    assert progress == FitProgress()


def test_an_epoch_starts_at_its_first_batch_and_forgets_that_the_last_was_done() -> None:
    progress = FitProgress(batches=4, batches_in_epoch=4, is_last_batch=True)
    progress.start_epoch()
    assert (progress.batches, progress.batches_in_epoch, progress.is_last_batch) == (4, 0, False)


def test_evaluation_counts_all_its_runs_and_the_current_one() -> None:
    progress = EvaluationProgress()
    for batches in (3, 2):
        progress.start_run()
        for _ in range(batches):
            progress.count_batch()
        progress.is_last_batch = True
    assert (progress.batches, progress.batches_in_run) == (5, 2)
    progress.start_run()
    assert (progress.batches_in_run, progress.is_last_batch) == (0, False)
