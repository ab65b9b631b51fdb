import subprocess
import sys
from pathlib import Path

from lt_interfaces.logger import Logger
from lt_interfaces.plugins import candidates, resolve

HEAVY = ("comet_ml", "mlflow", "tensorboard", "torch.utils.tensorboard", "wandb", "yaml")


def test_import_loads_no_tracker_and_no_yaml() -> None:
    program = f"import sys, lt_loggers; print([name for name in {HEAVY} if name in sys.modules])"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[]"


def test_loggers_are_found_by_name(tmp_path: Path) -> None:
    assert {"csv", "tensorboard"} <= set(candidates("loggers"))
    for name in ("csv", "tensorboard"):
        logger = resolve("loggers", name)(save_dir=tmp_path, version=None)
        assert isinstance(logger, Logger)
        assert logger.version == 0
