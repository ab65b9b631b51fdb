import signal
import threading
from pathlib import Path
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_runs import Net, fit

from lt_core.run.requests import Requests, SaveRequest
from lt_interfaces.callback import Callback


def test_nothing_is_asked_at_first() -> None:
    requests = Requests()
    assert (requests.is_pending, requests.stop, requests.take_save()) == (False, False, None)


def test_stop_is_asked_with_its_reason_and_taken_back() -> None:
    requests = Requests()
    requests.request_stop("enough")
    assert (requests.is_pending, requests.stop, requests.stop_reason) == (True, True, "enough")
    requests.withdraw_stop()
    assert not requests.stop


@given(st.lists(st.builds(SaveRequest, st.text(), st.booleans(), st.none() | st.just({"a": 1}))))
def test_checkpoints_are_taken_in_the_order_asked_each_once(wanted: list[SaveRequest]) -> None:
    requests = Requests()
    for one in wanted:
        requests.request_save(one)
    assert requests.is_pending == bool(wanted)
    assert [requests.take_save() for _ in wanted] == wanted
    assert requests.take_save() is None


def test_checkpoint_holds_all_and_takes_no_options_unless_asked() -> None:
    assert SaveRequest("x.ckpt") == SaveRequest("x.ckpt", weights_only=False, storage_options=None)


def test_waking_asks_for_nothing_but_a_look() -> None:
    requests = Requests()
    requests.wake()
    assert (requests.is_pending, requests.stop, requests.take_save()) == (True, False, None)


def test_stop_asked_on_one_of_several_ranks_waits_until_all_know() -> None:
    requests = Requests(is_shared=True)
    requests.request_stop("enough")
    assert (requests.is_pending, requests.is_stop_wanted, requests.stop) == (True, True, False)
    requests.withdraw_stop()
    assert not requests.is_stop_wanted


def test_checkpoint_asked_on_one_of_several_ranks_is_covered_by_no_agreement_yet() -> None:
    requests = Requests(is_shared=True)
    requests.request_save(SaveRequest("x.ckpt"))
    assert requests.has_saves
    assert requests.agreement is not None
    assert not requests.agreement.covers_saves


class Act(Callback):
    def __init__(self, action: Any) -> None:
        self.action = action

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 1:
            self.action(trainer)


def test_signal_handler_may_ask_for_both(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"

    def send_signal(trainer: Any) -> None:
        def handle(*_: Any) -> None:
            trainer.request_save(path)
            trainer.request_stop("told to end")

        before = signal.signal(signal.SIGUSR1, handle)
        signal.raise_signal(signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, before)

    trainer = fit(tmp_path, Net(), Act(send_signal))
    assert trainer.global_step == 2
    assert torch.load(path, weights_only=True)["global_step"] == 2


def test_thread_may_ask_to_stop(tmp_path: Path) -> None:
    def from_a_thread(trainer: Any) -> None:
        thread = threading.Thread(target=trainer.request_stop)
        thread.start()
        thread.join()

    assert fit(tmp_path, Net(), Act(from_a_thread)).global_step == 2
