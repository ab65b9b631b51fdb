"""Files go both ways: a real Lightning writes some and reads ours, in a process of its own."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_runs import Net, fit
from torch.optim.lr_scheduler import StepLR

from lt_core.checkpointing.lightning_format import loops_from, progress_from
from lt_interfaces.callback import Callback
from lt_interfaces.progress import FitProgress

LIGHTNING = """
import json, logging, sys, warnings
from pathlib import Path

warnings.simplefilter("ignore")
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
torch.set_num_threads(1)
root = Path(sys.argv[1])


class Net(LightningModule):
    def __init__(self, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(3, 1)
        torch.nn.init.constant_(self.layer.weight, 0.5)
        torch.nn.init.zeros_(self.layer.bias)

    def training_step(self, batch, batch_idx):
        return (self.layer(batch) - 1).square().mean()

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams.lr, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)]

    @property
    def weights(self):
        return torch.nn.utils.parameters_to_vector(self.parameters()).tolist()


class Saver(Callback):
    def on_train_epoch_end(self, trainer, module):
        if trainer.current_epoch == 0:
            trainer.save_checkpoint(root / "epoch_end.ckpt")

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.current_epoch == 0 and batch_idx in (1, 3):
            trainer.save_checkpoint(root / {1: "mid_epoch.ckpt", 3: "last_batch.ckpt"}[batch_idx])

    def state_dict(self):
        return {"mine": 3}


def rows():
    data = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    return torch.utils.data.DataLoader(data, batch_size=2)


def fit(net, epochs, ckpt_path=None):
    quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    trainer = Trainer(accelerator="cpu", max_epochs=epochs, default_root_dir=root, callbacks=[Saver()], **quiet)
    trainer.fit(net, rows(), ckpt_path=ckpt_path)
    return trainer


first, whole = Net(), Net()
fit(first, 1).save_checkpoint(root / "after_fit.ckpt")
fit(whole, 2)
loaded = Net.load_from_checkpoint(root / "ours.ckpt", map_location="cpu")
resumed = Net()
trainer = fit(resumed, 2, root / "ours.ckpt")
told = {
    "whole": whole.weights,
    "loaded": loaded.weights,
    "lr": loaded.hparams.lr,
    "resumed": resumed.weights,
    "global_step": trainer.global_step,
}
(root / "told.json").write_text(json.dumps(told))
"""


class Twin(Net):
    """The module of the script above."""

    def __init__(self, lr: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams.lr, momentum=0.9)
        return [optimizer], [StepLR(optimizer, 1, gamma=0.5)]


class Saver(Callback):
    """Owns the state that Lightning's file holds under its name."""

    given: Any = None

    def state_dict(self) -> dict[str, Any]:
        return {"mine": 4}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.given = state_dict


class Told:
    """What Lightning wrote and said."""

    def __init__(self, root: Path, ours: Twin) -> None:
        self.root = root
        self.ours = ours.weights
        self.values = json.loads((root / "told.json").read_text())

    def tensor(self, name: str) -> torch.Tensor:
        return torch.tensor(self.values[name])


@pytest.fixture(scope="module")
def lightning(tmp_path_factory: pytest.TempPathFactory) -> Told:
    if find_spec("lightning") is None:
        pytest.skip("the package `lightning` isn't installed")
    root, ours = tmp_path_factory.mktemp("lightning"), Twin()
    fit(root, ours, Saver()).save_checkpoint(root / "ours.ckpt")
    subprocess.run([sys.executable, "-c", LIGHTNING, str(root)], check=True, timeout=100, capture_output=True)
    return Told(root, ours)


ONE_EPOCH = [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("name", "batches"),
    [
        ("after_fit", ONE_EPOCH),
        ("epoch_end", ONE_EPOCH),
        ("last_batch", ONE_EPOCH),
        ("mid_epoch", [2, 3, *ONE_EPOCH]),
    ],
)
def test_file_of_lightning_is_resumed_from(name: str, batches: list[int], lightning: Told) -> None:
    seen: list[int] = []
    begun: list[int] = []

    class Looks(Saver):
        @property
        def state_key(self) -> str:
            return "Saver"

        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            seen.append(batch_idx)

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            begun.append(trainer.current_epoch)

    net, callback = Twin(), Looks()
    trainer = fit(lightning.root, net, callback, max_epochs=2, ckpt_path=lightning.root / f"{name}.ckpt")
    assert seen == batches
    assert begun == [1]
    assert (trainer.global_step, trainer.current_epoch) == (8, 2)
    torch.testing.assert_close(net.weights, lightning.tensor("whole"))
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0.1 * 0.5**2
    assert callback.given == {"mine": 3}


def test_module_loads_from_a_file_of_lightning(lightning: Told) -> None:
    net = Twin.load_from_checkpoint(lightning.root / "after_fit.ckpt")
    assert net.hparams.lr == 0.1
    torch.testing.assert_close(net.weights, lightning.ours)


def test_module_of_lightning_loads_from_our_file(lightning: Told) -> None:
    assert torch.equal(lightning.tensor("loaded"), lightning.ours)
    assert lightning.values["lr"] == 0.1


def test_lightning_resumes_from_our_file(lightning: Told) -> None:
    torch.testing.assert_close(lightning.tensor("resumed"), lightning.tensor("whole"))
    assert lightning.values["global_step"] == 8


def test_our_file_has_all_counters_that_a_file_of_lightning_has(lightning: Told) -> None:
    theirs = torch.load(lightning.root / "after_fit.ckpt", weights_only=True)
    ours = torch.load(lightning.root / "ours.ckpt", weights_only=True)
    assert set(theirs) <= set(ours)
    assert set(_places(theirs["loops"])) <= set(_places(ours["loops"]))


def _places(value: Any, place: str = "") -> list[str]:
    if not isinstance(value, dict):
        return [place]
    return [place, *(inner for key, item in value.items() for inner in _places(item, f"{place}/{key}"))]


counts = st.integers(0, 1000)


@given(counts, counts, counts, st.booleans(), st.booleans())
def test_counters_come_back_from_the_nested_ones(
    epochs: int, batches: int, steps: int, epoch_is_ending: bool, is_last_batch: bool
) -> None:
    progress = FitProgress(
        epochs_processed=epochs + (epoch_is_ending and batches > 0),
        epochs_completed=epochs,
        batches=epochs + batches,
        batches_in_epoch=batches,
        batches_that_stepped=steps,
        steps=[steps],
        is_last_batch=is_last_batch and batches > 0,
    )
    checkpoint = {"epoch": epochs, "global_step": steps, "loops": loops_from(progress)}
    assert progress_from(checkpoint, 1) == progress


def test_counters_without_loops_are_those_of_the_file() -> None:
    progress = progress_from({"epoch": 3, "global_step": 12}, 2)
    assert (progress.epochs_completed, progress.epochs_processed, progress.steps) == (3, 3, [12, 0])
