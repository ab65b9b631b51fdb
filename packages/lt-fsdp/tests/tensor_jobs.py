"""Jobs of ranks that compute layers together, by the Trainer and by Fabric, in a module that processes import."""

import os
from pathlib import Path
from typing import Any

import torch
from small_transformer import Transformer, letters, optimizer_of
from tensor_ranks import connected, divided
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader, TensorDataset

from lt_core import LightningModule, Trainer
from lt_fabric import Fabric
from lt_fsdp import ModelParallelStrategy

QUIET: Any = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}


class Net(LightningModule):
    """A transformer that is divided where it's made."""

    def __init__(self, *, dropout: float = 0.0, divides: bool = True) -> None:
        super().__init__()
        self.dropout, self.divides = nn.Dropout(dropout), divides
        self.model: nn.Module | None = None
        self.losses: list[float] = []
        self.sampled: list[int] = []

    def configure_model(self) -> None:
        """Make and divide the model."""
        if self.model is not None:
            return
        self.model = Transformer()
        if self.divides and self.device_mesh is not None:
            divided(self.model, self.device_mesh)

    def loss(self, batch: list[Tensor]) -> Tensor:
        """Return the loss of a batch."""
        assert isinstance(self.model, Transformer)
        self.sampled += batch[0][:, 0].tolist()
        rows = self.dropout(self.model.embedding(batch[0][:, :-1]))
        for block in self.model.blocks:
            rows = self.dropout(block(rows))
        scores = self.model.head(self.model.norm(rows))
        return nn.functional.cross_entropy(scores.flatten(0, 1), batch[0][:, 1:].flatten())

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Train on a batch."""
        loss = self.loss(batch)
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """Evaluate a batch."""
        self.log("val", self.loss(batch))

    def configure_optimizers(self) -> Any:
        """Return an optimizer with state."""
        return optimizer_of(self)


def loader(batch_size: int, *, shuffle: bool = False) -> DataLoader[Any]:
    """Return sequences."""
    rows = torch.cat([letters(number) for number in range(5)])
    return DataLoader(TensorDataset(rows), batch_size, shuffle=shuffle)


def trainer(ranks: int, folder: str, *, data: int = 1, **arguments: Any) -> Trainer:
    """Return a Trainer whose ranks compute layers together."""
    strategy: Any = "auto" if ranks == 1 else ModelParallelStrategy(data_parallel_size=data)
    return Trainer(devices=ranks, strategy=strategy, default_root_dir=folder, **QUIET, **arguments)


def fitted_and_resumed(ranks: int, folder: str) -> dict[str, Any]:
    """Fit, save, validate; and let another Trainer go on from the checkpoint for as long as a third did at once."""
    model = Net()
    first = trainer(ranks, folder, max_steps=5, enable_checkpointing=False)
    first.fit(model, loader(8), loader(8))
    path = Path(folder) / f"{ranks}.ckpt"
    first.save_checkpoint(path)
    validated = first.validate(model, loader(8), verbose=False)[0]["val"]
    resumed = Net()
    trainer(ranks, folder, max_steps=8, enable_checkpointing=False).fit(resumed, loader(8), loader(8), ckpt_path=path)
    at_once = Net()
    trainer(ranks, folder, max_steps=8, enable_checkpointing=False).fit(at_once, loader(8), loader(8))
    return {
        "losses": model.losses,
        "validated": validated,
        "is folder": path.is_dir(),
        "resumed": resumed.losses,
        "at once": at_once.losses,
        "divided": sum(isinstance(one, DTensor) for one in model.parameters()),
    }


def fitted_with_dropout(folder: str) -> tuple[list[int], list[float]]:
    """Return the samples and the undivided weights of a rank whose dropout and shuffling would otherwise be its own."""
    torch.manual_seed(int(os.environ["LOCAL_RANK"]))
    model = Net(dropout=0.3)
    fitting = trainer(2, folder, max_steps=5, enable_checkpointing=False)
    fitting.fit(model, loader(4, shuffle=True), loader(4))
    assert isinstance(model.model, Transformer)
    # The loss would tell nothing: a divided head gives all ranks the same scores, whatever each has dropped before it.
    return model.sampled, model.model.embedding.weight.flatten().tolist()


def samples_by_rank(folder: str) -> list[int]:
    """Return the samples of a rank of 2 x 2 in an epoch and a validation."""
    model = Net()
    fitting = trainer(4, folder, data=2, max_epochs=1, enable_checkpointing=False)
    fitting.fit(model, loader(4), loader(4))
    return model.sampled


def with_fabric(folder: str, is_optimizer_first: bool) -> tuple[list[float], list[float], bool]:
    """Return losses of a loop of one's own, and of one that goes on from what that saved."""
    fabric = Fabric(
        accelerator="cpu", devices=2, strategy=ModelParallelStrategy(divided, save_distributed_checkpoint=True)
    )
    fabric.launch()
    module, optimizer = _set_up(fabric, is_optimizer_first, seed=0)
    _losses(fabric, module, optimizer, 0)
    fabric.save(f"{folder}/{is_optimizer_first}.ckpt", {"model": module, "optimizer": optimizer})
    going_on = _losses(fabric, module, optimizer, 3)
    module, optimizer = _set_up(fabric, is_optimizer_first, seed=9)
    fabric.load(f"{folder}/{is_optimizer_first}.ckpt", {"model": module, "optimizer": optimizer})
    return going_on, _losses(fabric, module, optimizer, 3), isinstance(next(module.module.head.parameters()), DTensor)


def _set_up(fabric: Fabric, is_optimizer_first: bool, *, seed: int) -> tuple[Any, Any]:
    plain = Transformer(seed=seed)
    if is_optimizer_first:
        wrapped, optimizer = fabric.setup(plain, optimizer_of(plain))
        return wrapped, optimizer
    module = fabric.setup_module(plain)
    return module, fabric.setup_optimizers(optimizer_of(module))


def _losses(fabric: Fabric, module: Any, optimizer: Any, start: int) -> list[float]:
    found = []
    for number in range(start, start + 3):
        optimizer.zero_grad()
        rows = letters(number)
        loss = nn.functional.cross_entropy(module(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
        fabric.backward(loss)
        fabric.clip_gradients(module, optimizer, max_norm=0.5)
        optimizer.step()
        found.append(loss.item())
    return found


def refusals() -> list[str]:
    """Return what is said of modules that can't be trained so."""
    found = []
    for strategy in (connected(), connected(parallelize_fn=lambda module, mesh: nn.Linear(1, 1))):
        try:
            strategy.setup(Transformer(), None)
        except TypeError as error:
            found.append(str(error))
    return found
