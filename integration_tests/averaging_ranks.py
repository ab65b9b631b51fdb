"""Averaging weights, alone and on two ranks, in a module that processes can import."""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lt_callbacks import Callback, EMAWeightAveraging
from lt_core import LightningModule, Trainer

DATA = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))


class Net(LightningModule):
    """Remembers the weights that validation had."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layer = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 4), nn.Dropout(), nn.Linear(4, 1))
        self.validated: list[Tensor] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return (self.layer(batch) - 1).square().mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.validated.append(self.weights)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.1)

    @property
    def weights(self) -> Tensor:
        """All parameters and statistics in one row."""
        return torch.cat([one.detach().flatten() for one in (*self.parameters(), *self.buffers())])


class Saves(Callback):
    """Saves a checkpoint when a hook is heard for the n-th time."""

    def __init__(self, path: Path, hook: str = "on_train_batch_end", nth: int = 1) -> None:
        self.path = path
        self.left = nth
        setattr(self, hook, self._hear)

    def _hear(self, trainer: Any, *args: Any) -> None:
        self.left -= 1
        if self.left == 0:
            trainer.save_checkpoint(self.path)
            trainer.save_checkpoint(self.path.with_suffix(".weights"), weights_only=True)


def fit(root: Path, *callbacks: Callback, ckpt_path: Any = None, batch_size: int = 2, **arguments: Any) -> Net:
    """Fit for two epochs of six batches and return the module."""
    warnings.simplefilter("ignore")
    torch.manual_seed(1)
    net = Net()
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        default_root_dir=root,
        callbacks=[EMAWeightAveraging(decay=0.7), *callbacks],
        **arguments,
    )
    loaders = DataLoader(DATA, batch_size=batch_size, shuffle=True), DataLoader(DATA, batch_size=12)  # type: ignore[var-annotated,arg-type]
    trainer.fit(net, *loaders, ckpt_path=ckpt_path)
    return net


def average(folder: str) -> dict[str, Any]:
    """Average on two ranks; return what this rank's module came to, also when it was resumed."""
    path, options = Path(folder, "saved.ckpt"), {"devices": 2, "strategy": "ddp"}
    whole = fit(Path(folder), Saves(path, nth=4), **options)
    resumed = fit(Path(folder), ckpt_path=path, **options)
    return {"whole": whole.weights, "validated": whole.validated, "resumed": resumed.weights}
