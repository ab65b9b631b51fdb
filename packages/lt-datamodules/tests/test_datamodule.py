import inspect
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, SequentialSampler, TensorDataset

from lt_datamodules.datamodule import LightningDataModule
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.hooks import Hearer, heard_by
from lt_interfaces.plain_values import to_plain


class Sized(LightningDataModule):
    def __init__(self, batch_size: int, root: Path | None = None) -> None:
        self.save_hyperparameters()


class Open(LightningDataModule):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__()
        self.kwargs = kwargs


class Stream(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(5))


def numbers(count: int = 6) -> TensorDataset:
    return TensorDataset(torch.arange(count))


@pytest.mark.parametrize("hook", heard_by(Hearer.DATAMODULE), ids=lambda hook: hook.name)
def test_every_hook_of_the_table_is_there_with_its_arguments(hook: Any) -> None:
    method = getattr(LightningDataModule, hook.name)
    assert tuple(inspect.signature(method).parameters) == ("self", *hook.arguments)


def test_no_hook_is_there_that_the_table_does_not_list() -> None:
    others = {"state_dict", "load_state_dict", "load_from_checkpoint", "from_datasets"}
    offered = {name for name, value in vars(LightningDataModule).items() if callable(value) and name[0] != "_"}
    assert offered - others == {hook.name for hook in heard_by(Hearer.DATAMODULE)}


def test_defaults_do_nothing_to_batches_but_move_them() -> None:
    data = LightningDataModule()
    batch = {"x": torch.ones(2)}
    assert data.on_before_batch_transfer(batch, 0) is batch
    assert data.on_after_batch_transfer(batch, 0) is batch
    assert data.transfer_batch_to_device(batch, torch.device("meta"), 0)["x"].device.type == "meta"
    assert data.state_dict() == {}


@pytest.mark.parametrize("stage", ["train", "val", "test", "predict"])
def test_a_loader_that_is_not_defined_is_named(stage: str) -> None:
    with pytest.raises(MisconfigurationException, match=f"`Open` has no `{stage}_dataloader`"):
        getattr(Open(), f"{stage}_dataloader")()


def test_attributes_are_there_without_calling_the_base_constructor() -> None:
    data = Sized(batch_size=2)
    assert (data.trainer, data.name, data.prepare_data_per_node) == (None, None, True)
    assert data.allow_zero_length_dataloader_with_multiple_devices is False
    assert data.hparams == {"batch_size": 2, "root": None}


# --- from_datasets ---


def test_only_training_data_that_can_be_indexed_is_shuffled() -> None:
    data = LightningDataModule.from_datasets(numbers(), numbers(), numbers(), numbers(), batch_size=4)
    assert isinstance(data.train_dataloader().sampler, RandomSampler)
    for loader in (data.val_dataloader(), data.test_dataloader(), data.predict_dataloader()):
        assert isinstance(loader.sampler, SequentialSampler)
        assert loader.batch_size == 4
    stream = LightningDataModule.from_datasets(train_dataset=Stream(), batch_size=5)
    assert next(iter(stream.train_dataloader())).tolist() == [0, 1, 2, 3, 4]


def test_collections_of_datasets_give_collections_of_loaders() -> None:
    data = LightningDataModule.from_datasets({"a": numbers(2), "b": numbers(3)}, [numbers(4), numbers(5)])
    assert {key: len(loader) for key, loader in data.train_dataloader().items()} == {"a": 2, "b": 3}
    assert [len(loader) for loader in data.val_dataloader()] == [4, 5]


def test_missing_datasets_leave_their_loaders_undefined() -> None:
    data = LightningDataModule.from_datasets(train_dataset=numbers())
    with pytest.raises(MisconfigurationException, match="val_dataloader"):
        data.val_dataloader()


def test_constructor_gets_its_arguments_and_those_of_the_loaders_that_it_takes() -> None:
    data = Sized.from_datasets(numbers(), batch_size=3, root=Path("data"))
    assert data.hparams == {"batch_size": 3, "root": Path("data")}
    assert Open.from_datasets(numbers(), extra=1).kwargs == {"batch_size": 1, "num_workers": 0, "extra": 1}
    with pytest.raises(TypeError, match="extra"):
        Sized.from_datasets(numbers(), extra=1)


def test_it_travels_to_other_processes() -> None:
    data = LightningDataModule.from_datasets(train_dataset=numbers(), batch_size=4)
    assert len(pickle.loads(pickle.dumps(data)).train_dataloader()) == 2


# --- checkpoints ---


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    data = Sized(batch_size=8, root=Path("data"))
    hparams = to_plain(dict(data.hparams), data.CHECKPOINT_HYPER_PARAMS_KEY)
    content = {data.CHECKPOINT_HYPER_PARAMS_KEY: hparams, data.CHECKPOINT_HYPER_PARAMS_NAME: "kwargs"}
    torch.save({**content, "hyper_parameters": {"batch_size": "the module's"}}, tmp_path / "data.ckpt")
    return tmp_path / "data.ckpt"


def test_datamodule_comes_back_with_its_hyperparameters(checkpoint: Path) -> None:
    loaded = Sized.load_from_checkpoint(checkpoint)
    assert type(loaded) is Sized
    assert loaded.hparams == {"batch_size": 8, "root": Path("data")}


def test_file_of_hyperparameters_beats_the_checkpoint_and_keywords_beat_both(checkpoint: Path) -> None:
    file = checkpoint.with_name("hparams.csv")
    file.write_text("key,value\nbatch_size,16\nroot,elsewhere\n")
    loaded = Sized.load_from_checkpoint(checkpoint, hparams_file=file, batch_size=32)
    assert loaded.hparams == {"batch_size": 32, "root": "elsewhere"}


def test_loading_is_refused_on_an_instance(checkpoint: Path) -> None:
    with pytest.raises(TypeError, match="call it on the class"):
        Sized(batch_size=1).load_from_checkpoint(checkpoint)


# --- description ---


def test_description_lists_the_samples_of_each_stage() -> None:
    class Lazy(LightningDataModule):
        def setup(self, stage: str) -> None:
            self.data = numbers(7)

        def train_dataloader(self) -> Any:
            return DataLoader(self.data)

        def val_dataloader(self) -> Any:
            return [DataLoader(numbers(2)), {"stream": DataLoader(Stream())}]

    data = Lazy()
    assert str(data) == "Lazy\n  train: not set up\n  val: 2, unknown\n  test: not defined\n  predict: not defined"
    data.setup("fit")
    assert str(data).splitlines()[1] == "  train: 7"
