"""What callbacks and loggers of two ranks leave behind, in a module that processes can import."""

import contextlib
import io
import logging
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lt_callbacks import EarlyStopping, ModelCheckpoint, RichProgressBar, Timer, TQDMProgressBar
from lt_core import LightningModule, Trainer
from lt_interfaces.callback import Callback
from lt_interfaces.rank_zero import rank_zero_only
from lt_loggers import CSVLogger, TensorBoardLogger


class StopOnRank1(Callback):
    """Asks to stop at the fifth step, on one rank."""

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_rank == 1 and trainer.global_step == 5:
            trainer.should_stop = True


class Net(LightningModule):
    """Gets worse from the second epoch on, and on rank 1 more so."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.save_hyperparameters({"width": 1})

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = self.layer(batch[:, None]).square().mean()
        self.log("loss", loss, on_step=True, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        worse = float(self.current_epoch - 1) ** 2
        self.log("val", torch.tensor(worse + self.global_rank), batch_size=len(batch), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def train(folder: str) -> dict[str, Any]:
    """Train with everything switched on; return what this rank knows afterwards, and what it has printed."""
    warnings.simplefilter("ignore")
    logging.getLogger().addHandler(logging.NullHandler())
    printed, errors = io.StringIO(), io.StringIO()
    checkpoints, stopping = (
        ModelCheckpoint(monitor="val", save_top_k=2, save_last=True),
        EarlyStopping("val", patience=1),
    )
    timer = Timer(duration={"hours": 1})
    trainer = Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        max_epochs=6,
        log_every_n_steps=1,
        default_root_dir=folder,
        logger=[CSVLogger(folder, name="csv"), TensorBoardLogger(folder, name="board")],
        callbacks=[checkpoints, stopping, timer, TQDMProgressBar(refresh_rate=1)],
    )
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
        data = DataLoader(torch.ones(8), batch_size=2)  # type: ignore[var-annotated,arg-type]
        trainer.fit(Net(), data, data)
        trainer.print("said once")
        rank_zero_only(print)("said by rank 0")
        by_rank = rank_zero_only(lambda: "rank 0")()
    return {
        "printed": printed.getvalue() + errors.getvalue(),
        "rank_zero_only": by_rank,
        "log_dir": trainer.log_dir,
        "versions": [logger.version for logger in trainer.loggers],
        "best": checkpoints.best_model_path,
        "last": checkpoints.last_model_path,
        "kept": sorted(checkpoints.best_k_models),
        "scores": [float(score) for score in checkpoints.best_k_models.values()],
        "epochs": trainer.current_epoch,
        "stopped": (stopping.stopped_epoch, stopping.wait_count),
        "second": second_fit(folder),
    }


def second_fit(folder: str) -> dict[str, Any]:
    """Train again in the same processes, until rank 1 alone asks to stop."""
    trainer = Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        max_steps=50,
        default_root_dir=folder,
        callbacks=[RichProgressBar(), StopOnRank1()],
        enable_model_summary=False,
    )
    with contextlib.redirect_stdout(io.StringIO()):
        trainer.fit(Net(), DataLoader(torch.ones(200), batch_size=2))  # type: ignore[arg-type]
    return {
        "steps": trainer.global_step,
        "best": trainer.checkpoint_callback.best_model_path,
        "log_dir": trainer.log_dir,
    }
