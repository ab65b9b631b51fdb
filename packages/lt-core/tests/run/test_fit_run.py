from dataclasses import fields

from lt_core.run.fit_run import EvaluationRun, FitRun, FitValidation


def test_state_of_a_fit_has_at_most_eight_parts() -> None:
    assert len(fields(FitRun)) <= 8


def test_parts_of_a_run_share_no_name_but_their_own() -> None:
    assert {field.name for field in fields(FitValidation)} & {field.name for field in fields(EvaluationRun)} == set()
