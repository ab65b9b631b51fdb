"""The handwritten digits that come with scikit-learn: a small real data set that needs no download."""

from importlib.util import find_spec
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from lt_datamodules.datamodule import LightningDataModule
from lt_interfaces.errors import missing_package

_DARKEST: Final = 16  # pixels count ink, from 0 to 16
_NOISE: Final = 0.1  # standard deviation


class _NoisyImages(TensorDataset):
    """Images and labels; the pixels of an image get some noise, anew every time it's read.

    >>> image, _ = _NoisyImages(torch.zeros(1, 1, 8, 8), torch.tensor([3]))[0]
    >>> image.shape, image.min() >= 0, image.max() <= 1
    (torch.Size([1, 8, 8]), tensor(True), tensor(True))
    """

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        images, labels = self.tensors
        image = images[index]
        return (image + _NOISE * torch.randn(image.shape)).clamp(0, 1), labels[index]


class DigitsDataModule(LightningDataModule):
    """1797 handwritten digits of 8 x 8 pixels, split into training, validation and test data.

    A sample is an image, a float tensor of shape (1, 8, 8) with values in [0, 1], and its label, 0 to 9. The split has
    the same share of every digit in each part and depends on ``seed`` alone. The test images serve to predict, too.
    Needs scikit-learn: ``pip install "lt-datamodules[digits]"``.

    Args:
        batch_size: samples per batch, in every loader.
        val_fraction: share of all samples to validate with.
        test_fraction: share of all samples to test with.
        seed: decides the split, not the order of the training batches.
        num_workers: processes that load data, for each loader.
        augment: add noise to each training image. With the Trainer's ``seed_items`` it doesn't depend on the workers.

    Raises:
        ModuleNotFoundError: scikit-learn isn't installed.
        ValueError: the fractions leave nothing to train with, or aren't greater than 0.

    >>> data = DigitsDataModule(batch_size=32)
    >>> data.setup("fit")
    >>> images, labels = next(iter(data.val_dataloader()))
    >>> images.shape, labels.shape
    (torch.Size([32, 1, 8, 8]), torch.Size([32]))
    """

    def __init__(
        self,
        batch_size: int = 64,
        *,
        val_fraction: float = 0.15,
        test_fraction: float = 0.2,
        seed: int = 0,
        num_workers: int = 0,
        augment: bool = False,
    ) -> None:
        super().__init__()
        if find_spec("sklearn") is None:
            missing = missing_package("scikit-learn", "`DigitsDataModule`", '"lt-datamodules[digits]"')
            raise missing
        if not (val_fraction > 0 and test_fraction > 0 and val_fraction + test_fraction < 1):
            message = (
                "`val_fraction` and `test_fraction` must be greater than 0 and their sum below 1, "
                f"but {val_fraction} and {test_fraction} were given."
            )
            raise ValueError(message)
        self.save_hyperparameters()
        self.name = "digits"

    def setup(self, stage: str) -> None:
        """Split the images; the same split at every stage."""
        images, labels = _load()
        rest, test = _split(
            torch.arange(len(labels)), labels, fraction=self.hparams.test_fraction, seed=self.hparams.seed
        )
        share_of_rest = self.hparams.val_fraction / (1 - self.hparams.test_fraction)
        train, val = _split(rest, labels, fraction=share_of_rest, seed=self.hparams.seed)
        training_set = _NoisyImages if self.hparams.augment else TensorDataset
        self.train_set = training_set(images[train], labels[train])
        self.val_set = TensorDataset(images[val], labels[val])
        self.test_set = TensorDataset(images[test], labels[test])

    def train_dataloader(self) -> DataLoader[Any]:
        return self._loader(self.train_set, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader(self.val_set)

    def test_dataloader(self) -> DataLoader[Any]:
        return self._loader(self.test_set)

    def predict_dataloader(self) -> DataLoader[Any]:
        return self._loader(self.test_set)

    def _loader(self, dataset: TensorDataset, *, shuffle: bool = False) -> DataLoader[Any]:
        # No persistent workers: torch draws one number less for them, so the order would be another from epoch two on.
        return DataLoader(
            dataset, batch_size=self.hparams.batch_size, shuffle=shuffle, num_workers=self.hparams.num_workers
        )


def _load() -> tuple[Tensor, Tensor]:
    # Imported here: scikit-learn is an extra, and takes a second to import.
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.as_tensor(bunch.images, dtype=torch.float32) / _DARKEST
    return images.unsqueeze(1), torch.as_tensor(bunch.target, dtype=torch.int64)


def _split(indices: Tensor, labels: Tensor, *, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Take a share of the samples of each label away; return what is left and what was taken, both in file order."""
    generator = torch.Generator().manual_seed(seed)
    taken = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(10):
        of_label = indices[labels[indices] == label]
        order = torch.randperm(len(of_label), generator=generator)
        taken[of_label[order[: round(fraction * len(of_label))]]] = True
    return indices[~taken[indices]], indices[taken[indices]]
