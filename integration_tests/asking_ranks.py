"""Ranks of which some ask for a stop or a checkpoint, in a module that their processes import by name."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lt_core import LightningModule, Trainer
from lt_interfaces.callback import Callback


class Net(LightningModule):
    """One weight."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss: Tensor = self.layer(batch).square().mean()
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Asking(Callback):
    """Asks in the third step, on some ranks."""

    def __init__(self, ranks: list[int], path: Path | None) -> None:
        self.ranks, self.path = ranks, path

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 2 and trainer.global_rank in self.ranks:
            if self.path is None:
                trainer.request_stop("enough")
            else:
                trainer.request_save(self.path)


def steps(folder: str, ranks: list[int], saves: bool) -> int:
    """Return the steps taken, or those in the checkpoint that was written."""
    path = Path(folder, "asked.ckpt") if saves else None
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        max_epochs=1,
        default_root_dir=folder,
        callbacks=[Asking(ranks, path)],
        **quiet,
    )
    trainer.fit(Net(), torch.utils.data.DataLoader(torch.ones(20, 1), 1))  # type: ignore[arg-type]  # a tensor will do
    trainer.strategy.barrier("written")
    return trainer.global_step if path is None else torch.load(path, weights_only=True)["global_step"]
