"""Parts that nobody here knows: a wheel of its own brings them, entry points name them, a run uses them by name."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lt_interfaces import plugins

ROOT = Path(__file__).parent.parent
# The parts that the conformance suites are tried on, written from the contracts' docstrings.
TOYS = ROOT / "packages/lt-interfaces/tests/toy_parts.py"

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "strangers-toys"
version = "1.0"

[project.entry-points."lt.strategies"]
toy = "strangers_toys:ToyStrategy"

[project.entry-points."lt.precisions"]
toy-64 = "strangers_toys:ToyPrecision"

[project.entry-points."lt.accelerators"]
toy = "strangers_toys:ToyAccelerator"

[project.entry-points."lt.environments"]
toy = "strangers_toys:ToyEnvironment"

[project.entry-points."lt.checkpoint_ios"]
toy_file = "strangers_toys:ToyCheckpointIO"

[project.entry-points."lt.loggers"]
toy = "strangers_toys:ToyLogger"
csv = "strangers_toys:ToyLogger"

[project.entry-points."lt.profilers"]
toy = "strangers_toys:ToyProfiler"

[project.entry-points."lt.callbacks"]
toy = "strangers_toys:ToyCallback"

[tool.hatch.build.targets.wheel]
only-include = ["strangers_toys.py"]
"""

COMMON = """
import json, sys, torch
from pathlib import Path
from torch import nn
from torch.utils.data import DataLoader
from lt_interfaces import plugins
from lt_interfaces.testing import RegressionDataset, TinyRegressor

root = Path(sys.argv[1])
loader = lambda: DataLoader(RegressionDataset(length=24), batch_size=4)
weights = lambda module: nn.utils.parameters_to_vector(module.parameters()).double().tolist()
kinds = lambda *parts: [type(part).__name__ for part in parts]

def message_of(function, **arguments):
    try:
        function(**arguments)
    except ValueError as error:
        return str(error)
"""

TRAINER = (
    COMMON
    + """
from lt_core import LightningModule, Trainer

class Model(LightningModule):
    def __init__(self):
        super().__init__()
        self.net = TinyRegressor()

    def training_step(self, batch, batch_idx):
        loss = self.net.training_step(batch)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
options = {"default_root_dir": root, "accumulate_grad_batches": 2, "gradient_clip_val": 0.5, "log_every_n_steps": 1}
toys = {"accelerator": "toy", "strategy": "toy", "precision": "toy-64", "logger": "toy", "profiler": "toy"}

def fit(max_epochs, ckpt_path=None, **parts):
    callback = plugins.resolve("callbacks", "toy")()
    trainer = Trainer(max_epochs=max_epochs, callbacks=callback, **options, **quiet, **parts)
    trainer.fit(Model(), loader(), ckpt_path=ckpt_path)
    return trainer, callback

first, _ = fit(2, **toys)
first.save_checkpoint(root / "last.ckpt")
second, callback = fit(3, ckpt_path=root / "last.ckpt", **toys)
whole, _ = fit(3, **toys)
ours, _ = fit(3, accelerator="cpu", logger=False)
parts = second.strategy.parts
print(json.dumps({
    "parts": kinds(second.accelerator, second.strategy, second.precision_plugin, second.logger, second.profiler,
                   parts.environment, callback),
    "dtype": str(next(second.model.parameters()).dtype),
    "file": (root / "last.ckpt").read_bytes()[:15].decode(),
    "callback": callback.batches,
    "global_step": second.global_step,
    "precision_steps": second.precision_plugin.steps,
    "strategy_steps": second.strategy.steps,
    "profiled": sorted(second.profiler.seconds),
    "logger": second.logger.ended_with,
    "rows": (root / "toy" / "rows.jsonl").read_text().splitlines(),
    "resumed": weights(second.model),
    "whole": weights(whole.model),
    "ours": weights(ours.model),
    "misspelt": message_of(Trainer, strategy="toyy"),
    "twice": message_of(Trainer, logger="csv"),
}))
"""
)

FABRIC = (
    COMMON
    + """
from lt_fabric import Fabric

def train(fabric):
    module, optimizer = fabric.setup(*made())
    batches = fabric.setup_dataloaders(loader())
    for index, batch in enumerate(batches):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(module(batch[0]), batch[1])
        fabric.backward(loss)
        fabric.clip_gradients(module, optimizer, max_norm=0.5)
        optimizer.step()
        fabric.log("loss", loss, step=index)
        fabric.call("on_train_batch_end", trainer=None, pl_module=module, outputs=None, batch=batch, batch_idx=index)
    fabric.save(root / "fabric.ckpt", {"model": module, "optimizer": optimizer, "epoch": 1})
    again, optimizer_again = fabric.setup(*made())
    rest = fabric.load(root / "fabric.ckpt", {"model": again, "optimizer": optimizer_again})
    return module, again, rest

def made():
    module = TinyRegressor()
    return module, torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)

callback = plugins.resolve("callbacks", "toy")()
logger = plugins.resolve("loggers", "toy")(root, None)
fabric = Fabric(accelerator="toy", strategy="toy", precision="toy-64", callbacks=callback, loggers=logger)
module, again, rest = fabric.launch(train)
begins_with = (root / "fabric.ckpt").read_bytes()[:15].decode()
ours, _, _ = Fabric(accelerator="cpu").launch(train)
print(json.dumps({
    "parts": kinds(fabric.accelerator, fabric.strategy, fabric.strategy.parts.precision, fabric.logger, callback),
    "dtype": str(next(module.parameters()).dtype),
    "file": begins_with,
    "callback": callback.batches,
    "strategy_steps": fabric.strategy.steps,
    "rows": (root / "toy" / "rows.jsonl").read_text().splitlines(),
    "rest": rest,
    "trained": weights(module),
    "loaded": weights(again),
    "ours": weights(ours),
}))
"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the stranger's wheel and install it into a folder."""
    project, site = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("site")
    (project / "pyproject.toml").write_text(PYPROJECT)
    (project / "strangers_toys.py").write_text(TOYS.read_text())
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(site)]
    subprocess.run(build, cwd=project, check=True, capture_output=True, timeout=60)
    (wheel,) = site.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--target", str(site), str(wheel)], check=True, capture_output=True, timeout=100)
    return site


def run(script: str, site: Path, folder: Path) -> dict[str, Any]:
    """Run a script where the stranger's wheel is installed and its cluster's variable is set; return what it tells."""
    environment = os.environ | {"PYTHONPATH": str(site), "TOY_CLUSTER": "1"}
    command = [sys.executable, "-W", "error", "-c", script, str(folder)]
    done = subprocess.run(
        command, check=False, env=environment, cwd=folder, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.fixture(scope="module")
def trained(site: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run(TRAINER, site, tmp_path_factory.mktemp("trainer"))


@pytest.fixture(scope="module")
def by_hand(site: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run(FABRIC, site, tmp_path_factory.mktemp("fabric"))


def test_no_list_of_ours_knows_the_strangers_names() -> None:
    for kind in plugins.CONTRACTS:
        assert not {"toy", "toy-64", "toy_file"} & set(plugins.known_names(kind))


def test_trainer_uses_every_part_by_its_name(trained: dict[str, Any]) -> None:
    names = ["Accelerator", "Strategy", "Precision", "Logger", "Profiler", "Environment", "Callback"]
    assert trained["parts"] == [f"Toy{name}" for name in names]


def test_trainer_computes_in_the_strangers_precision(trained: dict[str, Any]) -> None:
    assert trained["dtype"] == "torch.float64"


def test_trainer_writes_and_reads_the_file_that_the_strangers_strategy_names(trained: dict[str, Any]) -> None:
    assert trained["file"] == "toy checkpoint\n"
    assert trained["resumed"] == pytest.approx(trained["whole"], abs=1e-6)


def test_resume_loses_no_bit_of_the_strangers_precision(trained: dict[str, Any]) -> None:
    assert trained["resumed"] == trained["whole"]


def test_state_of_strangers_parts_survives_a_resume(trained: dict[str, Any]) -> None:
    assert trained["callback"] == 18
    assert trained["precision_steps"] == trained["global_step"] == 9
    assert trained["strategy_steps"] == 3


def test_strangers_logger_gets_metrics_and_hears_the_end(trained: dict[str, Any]) -> None:
    assert sum("loss" in json.loads(row) for row in trained["rows"]) >= 9
    assert trained["logger"] == "success"


def test_strangers_profiler_measures_the_strangers_callback(trained: dict[str, Any]) -> None:
    assert "[Callback]ToyCallback.on_train_batch_end" in trained["profiled"]


def test_training_with_strangers_parts_gives_what_ours_give(trained: dict[str, Any]) -> None:
    assert trained["whole"] == pytest.approx(trained["ours"], abs=1e-5)


def test_misspelt_name_of_a_stranger_is_understood(trained: dict[str, Any]) -> None:
    assert "`strategy`" in trained["misspelt"]
    assert "Did you mean `toy`?" in trained["misspelt"]


def test_name_that_a_stranger_took_from_us_is_refused_with_both_owners(trained: dict[str, Any]) -> None:
    assert "strangers-toys (strangers_toys:ToyLogger)" in trained["twice"]
    assert "lt-loggers (lt_loggers.csv:CSVLogger)" in trained["twice"]


def test_fabric_uses_every_part_by_its_name(by_hand: dict[str, Any]) -> None:
    names = ["Accelerator", "Strategy", "Precision", "Logger", "Callback"]
    assert by_hand["parts"] == [f"Toy{name}" for name in names]
    assert by_hand["dtype"] == "torch.float64"
    assert by_hand["callback"] == by_hand["strategy_steps"] == len(by_hand["rows"]) == 6


def test_fabric_saves_and_loads_through_the_strangers_file(by_hand: dict[str, Any]) -> None:
    assert by_hand["file"] == "toy checkpoint\n"
    assert by_hand["loaded"] == by_hand["trained"]
    assert by_hand["rest"] == {"epoch": 1}


def test_fabric_with_strangers_parts_gives_what_ours_give(by_hand: dict[str, Any]) -> None:
    assert by_hand["trained"] == pytest.approx(by_hand["ours"], abs=1e-5)
