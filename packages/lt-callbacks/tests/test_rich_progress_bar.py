import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.progress import TextColumn

from lt_callbacks import RichProgressBar, RichProgressBarTheme

NewRun = Callable[..., Any]  # the stand-in run of conftest.py, which tests can't import


def in_terminal(**kwargs: Any) -> tuple[RichProgressBar, io.StringIO]:
    written = io.StringIO()
    console = {"file": written, "force_terminal": True, "width": 120, "color_system": None}
    return RichProgressBar(1, console_kwargs=console, **kwargs), written


def test_in_a_terminal_it_draws_epoch_counts_and_metrics(new_run: NewRun) -> None:
    bar, written = in_terminal()
    new_run(bar, shown={"loss": 0.12345}).fit(epochs=2, batches=3)
    text = written.getvalue()
    assert "Epoch 0/1" in text
    assert "3/3" in text
    assert "loss: 0.123" in text
    assert text.count("Epoch 1/1") >= 2


def test_only_the_last_epoch_stays(new_run: NewRun) -> None:
    bar, written = in_terminal()
    new_run(bar).fit(epochs=3, batches=1)
    assert "Epoch 0/2" not in written.getvalue().split("Epoch 2/2", 1)[1]


def test_the_theme_says_how_metrics_look(new_run: NewRun) -> None:
    bar, written = in_terminal(theme=RichProgressBarTheme(metrics_format=".1e", metrics_text_delimiter=" / "))
    new_run(bar, shown={"a": 0.5, "b": 0.25}).fit(batches=1)
    assert "a: 5.0e-01 / b: 2.5e-01" in written.getvalue()


def test_columns_can_be_replaced(new_run: NewRun) -> None:
    class Short(RichProgressBar):
        def configure_columns(self, trainer: Any) -> list[Any]:
            return [TextColumn("just {task.description}")]

    written = io.StringIO()
    bar = Short(1, console_kwargs={"file": written, "force_terminal": True, "width": 80})
    new_run(bar).fit(batches=1)
    assert "just Epoch 0/0" in written.getvalue()


def test_elsewhere_it_writes_one_plain_line_per_epoch(new_run: NewRun) -> None:
    written = io.StringIO()
    run = new_run(RichProgressBar(console_kwargs={"file": written}), num_val_batches=[5], shown={"loss": 0.5})
    run.fit(epochs=2, batches=100)
    lines = written.getvalue().splitlines()
    assert [line.split(" [")[0] for line in lines] == ["Epoch 0/1: 100/100", "Epoch 1/1: 100/100"]
    assert "\x1b" not in written.getvalue()
    assert run.metric_reads < 10


def test_printing_during_a_run_keeps_brackets(new_run: NewRun, capsys: pytest.CaptureFixture[str]) -> None:
    bar = RichProgressBar(1, console_kwargs={"force_terminal": True, "width": 80, "color_system": None})
    run = new_run(bar)
    run.begin()
    run.tell("on_train_epoch_start")
    bar.print("tensor", [1, 2], sep=": ")
    run.tell("teardown", "fit")
    assert "tensor: [1, 2]" in capsys.readouterr().out


def test_without_a_number_of_epochs_only_the_current_one_is_named(new_run: NewRun) -> None:
    bar = RichProgressBar()
    assert bar.epoch_description(new_run(max_epochs=-1, current_epoch=4)) == "Epoch 4"
