import sys
from collections.abc import Iterator

import pytest

from lt_strategies.failure.record import FailureRecord, PeerFailure
from lt_strategies.failure.report import Reporter
from lt_strategies.job_store import STORE_HOSTED

OWN = ValueError("out of order")
FIRST = FailureRecord.of_exception(ValueError("elsewhere"), rank=1, step=7)


@pytest.fixture
def reporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reporter]:
    monkeypatch.delenv(STORE_HOSTED, raising=False)
    before, sys.excepthook = sys.excepthook, lambda *_: sys.stderr.write("the usual print\n")
    reporter = Reporter()
    reporter.install()
    yield reporter
    sys.excepthook = before


def _write(text: str) -> None:
    sys.stderr.write(text)


def printed_for(failure: BaseException, capfd: pytest.CaptureFixture[str]) -> str:
    sys.excepthook(type(failure), failure, None)
    return capfd.readouterr().err


def test_what_follows_from_anothers_failure_is_not_printed(
    reporter: Reporter, capfd: pytest.CaptureFixture[str]
) -> None:
    assert printed_for(PeerFailure(FIRST), capfd) == ""


def test_own_failure_is_printed_as_usual(reporter: Reporter, capfd: pytest.CaptureFixture[str]) -> None:
    reporter.own_failure(OWN, FIRST)
    assert printed_for(OWN, capfd) == "the usual print\n"


def test_own_failure_is_left_to_the_launchers_process(
    reporter: Reporter, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STORE_HOSTED, "1")
    reporter.own_failure(OWN, FIRST)
    assert printed_for(OWN, capfd) == ""


def test_launchers_process_prints_the_first_failure_after_its_children_have_ended(
    reporter: Reporter, capfd: pytest.CaptureFixture[str]
) -> None:
    reporter.speak_for_children(lambda: _write("children have ended\n"))
    text = printed_for(PeerFailure(FIRST), capfd)
    assert text.startswith("children have ended\nValueError: elsewhere\n")
    assert text.endswith("rank 1 failed at global step 7: the first failure of the job.\n")


def test_what_nobody_could_write_down_is_printed_by_everybody(
    reporter: Reporter, capfd: pytest.CaptureFixture[str]
) -> None:
    text = printed_for(PeerFailure(FailureRecord.of_store_end("rank 0")), capfd)
    assert text == "rank 0, which held the job's store, has ended: the first failure of the job.\n"


def test_failures_outside_jobs_are_printed_as_usual(reporter: Reporter, capfd: pytest.CaptureFixture[str]) -> None:
    assert printed_for(KeyError("mine"), capfd) == "the usual print\n"


def test_installing_twice_changes_nothing(reporter: Reporter, capfd: pytest.CaptureFixture[str]) -> None:
    reporter.install()
    assert printed_for(KeyError("mine"), capfd) == "the usual print\n"
