"""SIGTERM ends a run at a step boundary."""

import os
import signal
import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lt_core import LightningModule, Trainer
from lt_core.run.signals import Signals
from lt_interfaces.errors import SIGTERMException


class TellsItself(LightningModule):
    """Sends SIGTERM to its own process in the second batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.torn_down = False

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        if batch_idx == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        loss: Tensor = self.layer(batch).sum()
        return loss

    def teardown(self, stage: str) -> None:
        self.torn_down = True

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def quiet(**arguments: Any) -> Trainer:
    off = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    return Trainer(max_epochs=1, **off, **arguments)


def test_the_run_ends_after_the_step_with_code_143_and_all_hooks() -> None:
    module, trainer = TellsItself(), quiet()
    with pytest.raises(SIGTERMException) as ended:
        trainer.fit(module, DataLoader(torch.ones(6, 4)))
    assert ended.value.code == 143
    assert (trainer.global_step, trainer.received_sigterm, trainer.interrupted) == (2, True, True)
    assert module.torn_down


def test_a_window_is_finished_first() -> None:
    trainer = quiet(accumulate_grad_batches=3)
    with pytest.raises(SIGTERMException):
        trainer.fit(TellsItself(), DataLoader(torch.ones(6, 4)))
    assert trainer.global_step == 1


def test_the_handler_of_before_hears_it_too_and_is_put_back() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda signum, frame: heard.append(signum))
    try:
        own = signal.getsignal(signal.SIGTERM)
        signals = Signals()
        with signals.heard():
            os.kill(os.getpid(), signal.SIGTERM)
        assert (signals.received_sigterm, heard) == (True, [signal.SIGTERM])
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_threads_change_no_handler() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[Any] = []

    def run() -> None:
        with Signals().heard():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]
