"""The smallest modules and data sets that a run can be tried with: random vectors, one layer, a loss towards ones."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler, StepLR
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset

from lt_core import LightningModule
from lt_datamodules import LightningDataModule

_SIZE = 32
_PER_STAGE = 64


class RandomDataset(Dataset[Tensor]):
    """Random vectors, drawn once.

    Args:
        size: of each vector.
        length: how many.

    >>> len(RandomDataset(32, 64)), RandomDataset(32, 64)[0].shape
    (64, torch.Size([32]))
    """

    def __init__(self, size: int, length: int) -> None:
        self.len = length
        self.data = torch.randn(length, size)

    def __getitem__(self, index: int) -> Tensor:
        return self.data[index]

    def __len__(self) -> int:
        return self.len


class RandomDictDataset(Dataset[dict[str, Tensor]]):
    """Dicts of a random vector ``a``, drawn once, and ``b``, which is greater by 2.

    Args:
        size: of each vector.
        length: how many dicts.
    """

    def __init__(self, size: int, length: int) -> None:
        self.len = length
        self.data = torch.randn(length, size)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        vector = self.data[index]
        return {"a": vector, "b": vector + 2}

    def __len__(self) -> int:
        return self.len


class RandomIterableDataset(IterableDataset[Tensor]):
    """Random vectors, drawn as they're read; their number isn't known beforehand.

    Args:
        size: of each vector.
        count: how many.
    """

    def __init__(self, size: int, count: int) -> None:
        self.size = size
        self.count = count

    def __iter__(self) -> Iterator[Tensor]:
        return (torch.randn(self.size) for _ in range(self.count))


class RandomIterableDatasetWithLen(IterableDataset[Tensor]):
    """Random vectors, drawn as they're read, whose number is known.

    Args:
        size: of each vector.
        count: how many.
    """

    def __init__(self, size: int, count: int) -> None:
        self.size = size
        self.count = count

    def __iter__(self) -> Iterator[Tensor]:
        return (torch.randn(self.size) for _ in range(self.count))

    def __len__(self) -> int:
        return self.count


class BoringModel(LightningModule):
    """One linear layer from 32 numbers to 2, trained towards ones; it brings its own data. Subclass it as you like.

    Steps return dicts: the loss is ``loss`` in training, ``x`` in validation and ``y`` in testing.

    >>> import lt_core
    >>> quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    >>> trainer = lt_core.Trainer(fast_dev_run=True, accelerator="cpu", **quiet)
    >>> trainer.fit(BoringModel())
    """

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(_SIZE, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return two numbers per vector."""
        output: Tensor = self.layer(x)
        return output

    def loss(self, preds: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the mean squared distance to the labels; ``None``: to ones."""
        return F.mse_loss(preds, torch.ones_like(preds) if labels is None else labels)

    def step(self, batch: Tensor) -> Tensor:
        """Return the loss of a batch."""
        return self.loss(self(batch))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return {"loss": self.step(batch)}

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        return {"x": self.step(batch)}

    def test_step(self, batch: Any, batch_idx: int) -> Any:
        return {"y": self.step(batch)}

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LRScheduler]]:
        optimizer = SGD(self.parameters(), lr=0.1)
        return [optimizer], [StepLR(optimizer, step_size=1)]

    def train_dataloader(self) -> Any:
        return DataLoader(RandomDataset(_SIZE, _PER_STAGE))

    def val_dataloader(self) -> Any:
        return DataLoader(RandomDataset(_SIZE, _PER_STAGE))

    def test_dataloader(self) -> Any:
        return DataLoader(RandomDataset(_SIZE, _PER_STAGE))

    def predict_dataloader(self) -> Any:
        return DataLoader(RandomDataset(_SIZE, _PER_STAGE))


class ManualOptimBoringModel(BoringModel):
    """A `BoringModel` that steps its optimizer by itself; its training step returns the bare loss."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        optimizer = self.optimizers()
        loss = self.step(batch)
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        return loss


class DemoModel(LightningModule):
    """One linear layer whose positive outputs, added up, are the loss; for Adam.

    Args:
        out_dim: how many outputs.
        learning_rate: of Adam; an attribute, too, for those who tune it.
    """

    def __init__(self, out_dim: int = 10, learning_rate: float = 0.02) -> None:
        super().__init__()
        self.l1 = nn.Linear(_SIZE, out_dim)
        self.learning_rate = learning_rate

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs that are positive, else zeros, for a batch whose items are flattened."""
        return torch.relu(self.l1(x.view(x.size(0), -1)))

    def training_step(self, batch: Any, batch_nb: int) -> Any:
        return self(batch).sum()

    def configure_optimizers(self) -> Optimizer:
        return Adam(self.parameters(), lr=self.learning_rate)


class Net(nn.Module):
    """A small convolutional network for images of 28 by 28, shape ``(batch, 1, 28, 28)``: log-probabilities of ten."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, kernel_size=3)
        self.conv2 = nn.Conv2d(32, 64, kernel_size=3)
        self.dropout1 = nn.Dropout(0.25)
        self.dropout2 = nn.Dropout(0.5)
        self.fc1 = nn.Linear(9216, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return the log-probabilities, shape ``(batch, 10)``."""
        x = torch.relu(self.conv2(torch.relu(self.conv1(x))))
        x = self.dropout1(F.max_pool2d(x, 2)).flatten(1)
        x = self.dropout2(torch.relu(self.fc1(x)))
        return F.log_softmax(self.fc2(x), dim=1)


class _RandomData(LightningDataModule):
    """Loads, vector by vector, the random data that `setup` has made for each stage."""

    random_train: Dataset[Tensor]
    random_val: Dataset[Tensor]
    random_test: Dataset[Tensor]
    random_predict: Dataset[Tensor]

    def train_dataloader(self) -> Any:
        return DataLoader(self.random_train)

    def val_dataloader(self) -> Any:
        return DataLoader(self.random_val)

    def test_dataloader(self) -> Any:
        return DataLoader(self.random_test)

    def predict_dataloader(self) -> Any:
        return DataLoader(self.random_predict)


class BoringDataModule(_RandomData):
    """256 random vectors of 32 numbers, drawn once; each stage has a quarter of them.

    >>> data = BoringDataModule()
    >>> data.setup("fit")
    >>> len(data.train_dataloader()), len(data.val_dataloader())
    (64, 64)
    """

    def __init__(self) -> None:
        super().__init__()
        self.random_full = RandomDataset(_SIZE, _PER_STAGE * 4)

    def setup(self, stage: str) -> None:
        if stage == "fit":
            self.random_train = self._quarter(0)
        if stage in ("fit", "validate"):
            self.random_val = self._quarter(1)
        if stage == "test":
            self.random_test = self._quarter(2)
        if stage == "predict":
            self.random_predict = self._quarter(3)

    def _quarter(self, number: int) -> Subset[Tensor]:
        return Subset(self.random_full, range(_PER_STAGE * number, _PER_STAGE * (number + 1)))


class BoringDataModuleNoLen(_RandomData):
    """Random vectors of 32 numbers, drawn as they're read, whose number isn't known beforehand."""

    def setup(self, stage: str) -> None:
        if stage == "fit":
            self.random_train = RandomIterableDataset(_SIZE, 512)
        if stage in ("fit", "validate"):
            self.random_val = RandomIterableDataset(_SIZE, 128)
        if stage == "test":
            self.random_test = RandomIterableDataset(_SIZE, 256)
        if stage == "predict":
            self.random_predict = RandomIterableDataset(_SIZE, 64)


class IterableBoringDataModule(LightningDataModule):
    """Two loaders per stage, of vectors of 4 numbers: one whose length is known, and one whose length isn't."""

    def setup(self, stage: str) -> None:
        if stage == "fit":
            self.train_datasets = self._pair(16)
        if stage in ("fit", "validate"):
            self.val_datasets = self._pair(32)
        if stage == "test":
            self.test_datasets = self._pair(64)
        if stage == "predict":
            self.predict_datasets = self._pair(128)

    def _pair(self, length: int) -> list[Dataset[Tensor]]:
        return [RandomDataset(4, length), RandomIterableDataset(4, length)]

    def train_dataloader(self) -> Any:
        return [DataLoader(dataset) for dataset in self.train_datasets]

    def val_dataloader(self) -> Any:
        return [DataLoader(dataset) for dataset in self.val_datasets]

    def test_dataloader(self) -> Any:
        return [DataLoader(dataset) for dataset in self.test_datasets]

    def predict_dataloader(self) -> Any:
        return [DataLoader(dataset) for dataset in self.predict_datasets]
