"""Finetuning on two ranks, in a module that processes can import."""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lt_callbacks import BackboneFinetuning, Callback, GradientAccumulationScheduler
from lt_core import LightningModule, Trainer

DATA = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))


class Net(LightningModule):
    """A backbone and a head, made of the same numbers each time."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.backbone = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4))
            self.head = nn.Linear(4, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return (self.head(self.backbone(batch)) - 1).square().mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam([one for one in self.parameters() if one.requires_grad], lr=0.1)

    @property
    def weights(self) -> Tensor:
        """All parameters in one row, of all ranks where they're sharded."""
        whole = [one.full_tensor() if hasattr(one, "full_tensor") else one for one in self.parameters()]
        return torch.cat([one.detach().flatten() for one in whole])


class SavesAfter(Callback):
    """Saves a checkpoint after so many batches."""

    def __init__(self, batches: int, path: Path) -> None:
        self.left = batches
        self.path = path

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        self.left -= 1
        if self.left == 0:
            trainer.save_checkpoint(self.path)


def fit(
    root: Path, *callbacks: Callback, ckpt_path: Any = None, batch_size: int = 2, net: Any = None, **arguments: Any
) -> Any:
    """Fit for four epochs, unfreezing in the second one, and return the module."""
    warnings.simplefilter("ignore")
    net = net or Net()
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=root,
        **{"max_epochs": 4, "callbacks": [BackboneFinetuning(1), *callbacks], **arguments},
    )
    trainer.fit(net, DataLoader(DATA, batch_size=batch_size), ckpt_path=ckpt_path)  # type: ignore[arg-type]
    return net


def finetune(folder: str) -> dict[str, Any]:
    """Finetune on two ranks in several ways; return what this rank's module came to in each."""
    found: dict[str, Any] = {}
    for strategy in ("ddp", "fsdp"):
        options = {"devices": 2, "strategy": strategy}
        root = Path(folder, strategy)
        path = root / "saved.ckpt"
        found[strategy] = fit(root, SavesAfter(8, path), **options).weights
        found[f"{strategy} resumed"] = fit(root, ckpt_path=path, **options).weights
    schedule = {"callbacks": [GradientAccumulationScheduler({1: 3})]}
    found["scheduled"] = fit(Path(folder), devices=2, strategy="ddp", batch_size=1, **schedule).weights
    found["accumulated"] = fit(Path(folder), devices=2, strategy="ddp", batch_size=1, accumulate_grad_batches=2).weights
    return found
