"""The users' base class for everything about a data set: getting it, splitting it, loading it."""

import inspect
import os
from collections.abc import Mapping, Sequence, Sized
from functools import partial
from typing import IO, Any, Final, Self, cast

import torch
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader, Dataset, IterableDataset

from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.hyperparameters import HyperparametersMixin
from lt_interfaces.moving import move_data_to_device
from lt_interfaces.reinstantiation import class_only, instantiate, read_checkpoint, read_hyperparameters

AnyDataset = Dataset[Any]
Datasets = AnyDataset | Sequence[AnyDataset] | Mapping[str, AnyDataset]

_LOADERS: Final = {
    "train_dataloader": "train",
    "val_dataloader": "val",
    "test_dataloader": "test",
    "predict_dataloader": "predict",
}


class LightningDataModule(HyperparametersMixin):
    """Everything about a data set in one class: override what you need and hand it to the Trainer.

    At every entry point the Trainer calls `prepare_data` (in one process per node, or in one altogether if
    ``prepare_data_per_node`` is False), `setup` in every process, then the loader methods of its stages, and at the end
    `teardown`. The three transfer hooks see every batch on its way to the device; one that you override here wins over
    the module's.

    Attributes:
        trainer: the Trainer that uses it; set by the Trainer, ``None`` outside of a run.
        name: what to call the data; free to use.
        prepare_data_per_node: whether `prepare_data` runs on every node, or on the first alone.
        allow_zero_length_dataloader_with_multiple_devices: whether a rank may get an empty loader.
        seed_items: whether random generators are seeded for each item read, so that random augmentation doesn't depend
            on the workers: ``True`` (with the seed of `seed_everything`) or a seed. The Trainer's argument wins.

    >>> class Numbers(LightningDataModule):
    ...     def __init__(self, batch_size=4):
    ...         super().__init__()
    ...         self.save_hyperparameters()
    ...
    ...     def setup(self, stage):
    ...         self.numbers = torch.arange(10)
    ...
    ...     def train_dataloader(self):
    ...         return DataLoader(self.numbers, batch_size=self.hparams.batch_size)
    >>> data = Numbers()
    >>> data.setup("fit")
    >>> [len(batch) for batch in data.train_dataloader()]
    [4, 4, 2]
    """

    CHECKPOINT_HYPER_PARAMS_KEY: Final = "datamodule_hyper_parameters"
    CHECKPOINT_HYPER_PARAMS_NAME: Final = "datamodule_hparams_name"
    CHECKPOINT_HYPER_PARAMS_TYPE: Final = "datamodule_hparams_type"

    # Class attributes, so that they are there in subclasses that don't call `super().__init__()` as well.
    trainer: Any = None
    name: str | None = None
    prepare_data_per_node: bool = True
    allow_zero_length_dataloader_with_multiple_devices: bool = False
    seed_items: bool | int = False

    # --- hooks ---

    def prepare_data(self) -> None:
        """Download or convert; don't set attributes here, other processes wouldn't see them."""

    def setup(self, stage: str) -> None:
        """Make the datasets of a stage ("fit", "validate", "test" or "predict"), in every process."""

    def teardown(self, stage: str) -> None:
        """Clean up after a stage, in every process, also after a failure."""

    def on_exception(self, exception: BaseException) -> None:
        """Hear that the run was interrupted."""

    def train_dataloader(self) -> Any:
        """Return one loader to train with, or a nested collection of them."""
        raise _no_loader(self, "train_dataloader")

    def val_dataloader(self) -> Any:
        """Return one or several loaders to validate with."""
        raise _no_loader(self, "val_dataloader")

    def test_dataloader(self) -> Any:
        """Return one or several loaders to test with."""
        raise _no_loader(self, "test_dataloader")

    def predict_dataloader(self) -> Any:
        """Return one or several loaders to predict from."""
        raise _no_loader(self, "predict_dataloader")

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Change a batch before it's moved; return it."""
        return batch

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move a batch to the device; override it for batches that tensors and collections of them don't cover."""
        return move_data_to_device(batch, device)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Change a batch after it was moved, for instance with augmentations that run on the device; return it."""
        return batch

    # --- state ---

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs; saved with every checkpoint, if it isn't empty."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` returned, before training goes on."""

    @class_only
    def load_from_checkpoint(
        cls,
        checkpoint_path: str | os.PathLike[str] | IO[bytes],
        map_location: Any = None,
        hparams_file: str | os.PathLike[str] | None = None,
        weights_only: bool | None = None,
        **kwargs: Any,
    ) -> Self:
        """Make a datamodule with the hyper-parameters that a checkpoint holds of the one it was saved with.

        Only the constructor's arguments come from there; state is restored by the Trainer when a run is resumed.

        Args:
            checkpoint_path: a local path, an open binary file or an ``http(s)`` address.
            map_location: as in `torch.load`; by default tensors of a device that doesn't exist here come to the CPU.
            hparams_file: a ``.yaml`` or ``.csv`` file of hyper-parameters; stronger than those in the checkpoint.
            weights_only: ``False`` unpickles arbitrary objects, only for files whose author you trust.
            kwargs: arguments for the constructor; the strongest.
        """
        checkpoint = read_checkpoint(checkpoint_path, map_location=map_location, weights_only=weights_only)
        saved = dict(checkpoint.get(cls.CHECKPOINT_HYPER_PARAMS_KEY) or {})
        if hparams_file is not None:
            saved.update(read_hyperparameters(hparams_file))
        return instantiate(cls, saved, name=checkpoint.get(cls.CHECKPOINT_HYPER_PARAMS_NAME), overrides=kwargs)

    # --- from what is there already ---

    @classmethod
    def from_datasets(
        cls,
        train_dataset: Datasets | None = None,
        val_dataset: Datasets | None = None,
        test_dataset: Datasets | None = None,
        predict_dataset: Datasets | None = None,
        batch_size: int = 1,
        num_workers: int = 0,
        **datamodule_kwargs: Any,
    ) -> Self:
        """Make a datamodule from datasets that exist already.

        A list or dict of datasets gives a list or dict of loaders. Training data is shuffled unless it's iterable only.

        Args:
            train_dataset: to train with.
            val_dataset: to validate with.
            test_dataset: to test with.
            predict_dataset: to predict from.
            batch_size: of every loader; the constructor gets it too, if it takes an argument of this name.
            num_workers: processes that load data, for each loader; handed on like ``batch_size``.
            datamodule_kwargs: arguments for the constructor.

        >>> numbers = torch.utils.data.TensorDataset(torch.arange(6))
        >>> data = LightningDataModule.from_datasets(train_dataset=numbers, batch_size=4)
        >>> len(data.train_dataloader())
        2
        """
        own = {"batch_size": batch_size, "num_workers": num_workers, **datamodule_kwargs}
        parameters = inspect.signature(cls).parameters
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        made = cls(**{key: own[key] for key in own if takes_any or key in parameters or key in datamodule_kwargs})
        given = (train_dataset, val_dataset, test_dataset, predict_dataset)
        for method, datasets in zip(_LOADERS, given, strict=True):
            if datasets is not None:
                shuffle = method == "train_dataloader"
                loaders = partial(_loaders, datasets, shuffle=shuffle, batch_size=batch_size, num_workers=num_workers)
                setattr(made, method, loaders)
        return made

    def __str__(self) -> str:
        """List how many samples each stage has, as far as that is known before a run."""
        lines = [f"  {stage}: {_num_samples(self, method)}" for method, stage in _LOADERS.items()]
        return "\n".join([type(self).__name__, *lines])


def _no_loader(data: LightningDataModule, method: str) -> MisconfigurationException:
    message = f"`{type(data).__name__}` has no `{method}`, which this stage needs: define it, returning a loader."
    return MisconfigurationException(message)


def _loaders(datasets: Datasets, *, shuffle: bool, batch_size: int, num_workers: int) -> Any:
    again = partial(_loaders, shuffle=shuffle, batch_size=batch_size, num_workers=num_workers)
    if isinstance(datasets, Mapping):
        return {key: again(dataset) for key, dataset in datasets.items()}
    if isinstance(datasets, list | tuple):
        return [again(dataset) for dataset in datasets]
    return DataLoader(
        cast("AnyDataset", datasets),
        batch_size=batch_size,
        shuffle=shuffle and not isinstance(datasets, IterableDataset),
        num_workers=num_workers,
        pin_memory=torch.cuda.is_available(),  # elsewhere torch warns that it does nothing
    )


def _num_samples(data: LightningDataModule, method: str) -> str:
    if method not in vars(data) and getattr(type(data), method) is getattr(LightningDataModule, method):
        return "not defined"
    try:
        loaders = getattr(data, method)()
    except Exception:  # any error is possible while the user's `setup` hasn't run, and none matters to a description
        return "not set up"
    return ", ".join(str(_length(loader)) for loader in tree_leaves(loaders))


def _length(loader: object) -> int | str:
    sized = getattr(loader, "dataset", loader)
    return len(sized) if isinstance(sized, Sized) else "unknown"
