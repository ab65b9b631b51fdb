import io
import sys
from collections.abc import Callable
from typing import Any

import pytest

from lt_callbacks import TQDMProgressBar
from lt_callbacks.tqdm_progress_bar import rate_in_environment
from lt_interfaces.errors import MissingPackageError

NewRun = Callable[..., Any]  # the stand-in run of conftest.py, which tests can't import


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_in_a_terminal_it_draws_epoch_counts_and_metrics(new_run: NewRun, monkeypatch: pytest.MonkeyPatch) -> None:
    written = Terminal()
    monkeypatch.setattr(sys, "stdout", written)
    new_run(TQDMProgressBar(), shown={"loss": 0.12345}, num_val_batches=[2]).fit(epochs=2, batches=3)
    final = written.getvalue().rstrip("\n").rsplit("\r", 1)[1]
    assert "Epoch 1: 100%" in final
    assert "3/3" in final
    assert "loss=0.123" in final


def test_bars_of_ones_own_are_drawn(new_run: NewRun, monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(TQDMProgressBar):
        def init_train_tqdm(self) -> Any:
            bar = super().init_train_tqdm()
            bar.bar_format = "{desc} <{n_fmt} of {total_fmt}>"
            return bar

    written = Terminal()
    monkeypatch.setattr(sys, "stdout", written)
    new_run(Own()).fit(epochs=1, batches=3)
    assert "Epoch 0:  <3 of 3>" in written.getvalue()


class Postfix(TQDMProgressBar):
    def on_train_batch_end(self, *args: Any) -> None:
        super().on_train_batch_end(*args)
        self.train_progress_bar.set_postfix_str("mine")
        self.val_progress_bar.set_description("silent")


def test_the_bar_that_is_drawn_can_be_written_to(new_run: NewRun, monkeypatch: pytest.MonkeyPatch) -> None:
    written = Terminal()
    monkeypatch.setattr(sys, "stdout", written)
    new_run(Postfix()).fit(epochs=1, batches=3)
    assert "mine" in written.getvalue()
    assert "silent" not in written.getvalue()


def test_where_plain_lines_are_written_a_silent_bar_is_written_to(
    new_run: NewRun, capsys: pytest.CaptureFixture[str]
) -> None:
    new_run(Postfix()).fit(epochs=1, batches=3)
    captured = capsys.readouterr()
    assert "mine" not in captured.out + captured.err


def test_elsewhere_it_writes_one_plain_line_per_epoch(new_run: NewRun, capsys: pytest.CaptureFixture[str]) -> None:
    new_run(TQDMProgressBar()).fit(epochs=2, batches=100)
    out = capsys.readouterr().out
    assert [line.split(" [")[0] for line in out.splitlines()] == ["Epoch 0: 100/100", "Epoch 1: 100/100"]


def test_the_environment_slows_the_rate_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TQDM_MINITERS", "5")
    assert [rate_in_environment(rate) for rate in (0, 1, 7)] == [0, 5, 7]
    monkeypatch.delenv("TQDM_MINITERS")
    monkeypatch.setenv("COLAB_GPU", "1")
    assert [rate_in_environment(rate) for rate in (0, 1, 7)] == [0, 20, 7]


def test_without_tqdm_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lt_callbacks.tqdm_progress_bar.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install lt-callbacks\[tqdm\]"):
        TQDMProgressBar()
