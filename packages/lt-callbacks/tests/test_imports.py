import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from lt_callbacks import ModelCheckpoint, RichModelSummary, RichProgressBar, Timer


def test_neither_rich_nor_tqdm_is_loaded_until_a_bar_is_drawn() -> None:
    program = (
        "import sys, lt_callbacks as c; c.RichProgressBar(); c.TQDMProgressBar(); c.RichModelSummary(); "
        "print(sorted({'rich', 'tqdm'} & {name.split('.')[0] for name in sys.modules}))"
    )
    bare = "import torch, sys; print(sorted({'rich', 'tqdm'} & {name.split('.')[0] for name in sys.modules}))"
    ours, torchs = (
        subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout
        for text in (program, bare)
    )
    assert ours == torchs


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("model_checkpoint", ModelCheckpoint),
        ("model_summary", RichModelSummary),
        ("progress_bar", RichProgressBar),
        ("timer", Timer),
    ],
)
def test_the_trainers_defaults_are_found_by_name(name: str, found: type) -> None:
    (point,) = {point for point in entry_points(group="lt.callbacks") if point.name == name}
    assert point.load() is found
