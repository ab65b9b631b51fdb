import pickle

from lt_strategies.failure.record import FailureRecord, PeerFailure


def failed() -> FailureRecord:
    try:
        message = "out of order"
        raise ValueError(message)
    except ValueError as failure:
        return FailureRecord.of_exception(failure, rank=1, step=7)


def test_a_record_comes_through_the_store_whole() -> None:
    record = failed()
    assert FailureRecord.from_text(record.to_text()) == record


def test_the_step_is_left_out_where_nobody_knows_it() -> None:
    assert FailureRecord.of_exception(ValueError(), rank=0, step=None).headline == "rank 0 failed"


def test_report_ends_with_who_failed_after_the_traceback() -> None:
    lines = failed().report.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-2:] == ["ValueError: out of order", "rank 1 failed at global step 7: the first failure of the job."]


def test_report_of_a_killed_process_is_one_line() -> None:
    record = FailureRecord.of_end("rank 1 was killed by SIGKILL", rank=1)
    assert record.report == "rank 1 was killed by SIGKILL: the first failure of the job."


def test_peer_failure_tells_of_the_first_one() -> None:
    text = str(PeerFailure(failed()))
    assert text.startswith("rank 1 failed at global step 7, so this process ends too.")
    assert text.endswith("ValueError: out of order")


def test_peer_failure_can_be_sent_to_another_process() -> None:
    back = pickle.loads(pickle.dumps(PeerFailure(failed())))
    assert isinstance(back, PeerFailure)
    assert back.record.headline == "rank 1 failed at global step 7"
