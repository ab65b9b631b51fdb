import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

DEMO = Path(__file__).parents[1] / "docs" / "examples" / "digits.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the demo once in an empty folder, as a newcomer does, and keep what it printed."""
    folder = tmp_path_factory.mktemp("demo")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    finished = subprocess.run(
        [sys.executable, str(DEMO)],
        check=False,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert finished.returncode == 0, finished.stderr
    (folder / "printed.txt").write_text(finished.stdout, encoding="utf-8")
    return folder


def test_demo_recognises_97_of_100_digits(folder: Path) -> None:
    printed = (folder / "printed.txt").read_text(encoding="utf-8")
    found = re.search(r"test_accuracy\D+(\d\.\d+)", printed)
    assert found, printed
    assert float(found[1]) >= 0.97


def test_demo_leaves_everything_in_one_run_directory(folder: Path) -> None:
    run = folder / "runs" / "digits" / "version_0"
    assert [path.name for path in run.parent.iterdir()] == ["version_0"]
    assert list(run.glob("events.out.tfevents.*"))
    assert (run / "hparams.yaml").stat().st_size > 0
    for picture in ("learning_curves.png", "misclassified.png"):
        assert (run / picture).read_bytes().startswith(b"\x89PNG")
    with (run / "metrics.csv").open(newline="") as file:
        assert any(row["val_accuracy"] for row in csv.DictReader(file))


def test_demos_checkpoint_loads_without_unpickling_objects(folder: Path) -> None:
    (file,) = folder.glob("runs/digits/version_0/checkpoints/*.ckpt")
    assert torch.load(file, weights_only=True)["hyper_parameters"] == {"channels": 16, "lr": 0.01}


def test_demos_script_is_short_enough_to_be_read_at_once() -> None:
    assert len(DEMO.read_text().splitlines()) < 60
