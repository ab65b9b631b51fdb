import io
import math

import pytest

from lt_callbacks.progress_display import Bar, LineDisplay


@pytest.fixture
def written() -> io.StringIO:
    return io.StringIO()


def test_a_bar_is_one_line_without_control_characters(written: io.StringIO) -> None:
    display = LineDisplay(written)
    display.open(Bar.TRAINING, "Epoch 0", 4)
    for done in range(1, 5):
        display.refresh(Bar.TRAINING, done, {"v_num": 0, "loss": 0.12345})
    display.close(Bar.TRAINING, keep=False)
    lines = written.getvalue().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("Epoch 0: 4/4 [0:00:00, ")
    assert lines[0].endswith(" batches/s] v_num=0 loss=0.123")
    assert all(character.isprintable() for character in lines[0])


def test_an_evaluation_inside_of_training_writes_nothing(written: io.StringIO) -> None:
    display = LineDisplay(written)
    for keep in (False, True):
        display.open(Bar.EVALUATION, "Validation DataLoader 0", math.inf)
        display.refresh(Bar.EVALUATION, 3, {})
        display.close(Bar.EVALUATION, keep=keep)
    assert written.getvalue().splitlines()[0].startswith("Validation DataLoader 0: 3 [")
    assert len(written.getvalue().splitlines()) == 1


def test_a_long_epoch_writes_a_line_a_minute(written: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    display = LineDisplay(written)
    display.open(Bar.TRAINING, "Epoch 0", 100)
    for done in range(1, 13):
        now[0] += 10.0
        display.refresh(Bar.TRAINING, done, {})
    assert [line.split(" [")[0] for line in written.getvalue().splitlines()] == ["Epoch 0: 6/100", "Epoch 0: 12/100"]
