import pytest

from lt_interfaces.states import RunningStage, TrainerFn, TrainerState, TrainerStatus


def test_enums_compare_with_plain_strings() -> None:
    assert TrainerFn.FITTING == "fit"
    assert RunningStage.SANITY_CHECKING == "sanity_check"
    assert {TrainerFn.TESTING: 1}["test"] == 1  # type: ignore[index]


@pytest.mark.parametrize(
    ("stage", "evaluating", "prefix"),
    [
        (RunningStage.TRAINING, False, "train"),
        (RunningStage.SANITY_CHECKING, True, "val"),
        (RunningStage.VALIDATING, True, "val"),
        (RunningStage.TESTING, True, "test"),
        (RunningStage.PREDICTING, False, "predict"),
    ],
)
def test_stage_knows_its_loader_and_whether_it_evaluates(stage: RunningStage, evaluating: bool, prefix: str) -> None:
    assert stage.evaluating is evaluating
    assert stage.dataloader_prefix == prefix
    assert type(stage.dataloader_prefix) is str


def test_only_finished_and_interrupted_are_stopped() -> None:
    assert {status for status in TrainerStatus if status.stopped} == {
        TrainerStatus.FINISHED,
        TrainerStatus.INTERRUPTED,
    }


def test_state_starts_initializing_and_reports_its_end() -> None:
    state = TrainerState()
    assert (state.status, state.fn, state.stage) == (TrainerStatus.INITIALIZING, None, None)
    assert not state.stopped


def test_interrupted_state_is_stopped_but_not_finished() -> None:
    state = TrainerState(status=TrainerStatus.INTERRUPTED)
    assert state.stopped
    assert state.interrupted
    assert not state.finished


def test_state_evaluates_only_inside_an_evaluation_stage() -> None:
    assert not TrainerState().evaluating
    assert TrainerState(stage=RunningStage.TESTING).evaluating
