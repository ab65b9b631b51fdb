"""A job of two ranks in which one rank fails: job.py FOLDER STRATEGY WHAT RANK.

What its processes did is noted in files of the folder: their ids, when the failure happened, and which hooks ran.
"""

import os
import signal
import sys
import time
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lt

FAILING_STEP = 3
TIMEOUT_SECONDS = 5


class Notes(lt.Callback):
    """Notes which hooks of a failing run were called on which rank."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _note(self, hook: str) -> None:
        (self.folder / f"{hook}-{os.environ['LOCAL_RANK']}").touch()

    def on_fit_start(self, trainer: Any, module: Any) -> None:
        (self.folder / f"process-{os.getpid()}").touch()

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        self._note("on_exception")

    def teardown(self, trainer: Any, module: Any, stage: str) -> None:
        self._note("teardown")


class Net(lt.LightningModule):
    """Fails on one rank in its fourth step."""

    def __init__(self, folder: Path, what: str, rank: int) -> None:
        super().__init__()
        self.folder, self.what, self.rank = folder, what, rank
        self.layer = nn.Linear(4, 1)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        if self.global_step == FAILING_STEP and self.global_rank == self.rank:
            (self.folder / "time").write_text(str(time.time()))
            fail(self.what)
        loss: Tensor = self.layer(batch[0]).square().mean()
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def fail(what: str) -> None:
    """Do what shall happen."""
    if what == "exception":
        message = "out of order"
        raise ValueError(message)
    if what == "sys.exit":
        sys.exit(3)
    if what == "SIGKILL":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "stuck":
        time.sleep(1000)


def main() -> None:
    """Train until the failure."""
    warnings.simplefilter("ignore")
    folder, what, rank = Path(sys.argv[1]), sys.argv[3], int(sys.argv[4])
    start_method: Any = sys.argv[2]
    torch.set_num_threads(1)
    (folder / f"process-{os.getpid()}").touch()
    trainer = lt.Trainer(
        accelerator="cpu",
        devices=2,
        strategy=lt.strategies.DDPStrategy(start_method=start_method, timeout=timedelta(seconds=TIMEOUT_SECONDS)),
        max_steps=10,
        callbacks=[Notes(folder)],
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Net(folder, what, rank), DataLoader(TensorDataset(torch.ones(64, 4)), batch_size=2))


if __name__ == "__main__":
    main()
