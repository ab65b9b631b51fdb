from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Net, fit, rows, trainer_with
from torch import Tensor

from lt_fabric.full_precision import FullPrecision

NAMES = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


class Data:
    """A datamodule as the Trainer recognises one: by its methods."""

    prepare_data_per_node = True
    allow_zero_length_dataloader_with_multiple_devices = False
    trainer: Any = None

    def prepare_data(self) -> None: ...
    def setup(self, stage: str) -> None: ...
    def teardown(self, stage: str) -> None: ...
    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...
    def on_exception(self, exception: BaseException) -> None: ...
    def train_dataloader(self) -> Any:
        return rows(1)

    def val_dataloader(self) -> Any:
        return [rows(1), rows(1)]


class Transfers:
    """The three hooks, each leaving a word."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[tuple[str, int]] = []

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        self.said.append(("before", dataloader_idx))
        return batch + 1

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        self.said.append((f"to {device}", dataloader_idx))
        return batch * 2

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        self.said.append(("after", dataloader_idx))
        return batch - 3


class ModuleTransfers(Transfers, Net):
    pass


class DataTransfers(Transfers, Data):
    pass


class Keeps(Net):
    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        self.kept = batch
        return self.loss(batch)

    def validation_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.kept = batch


class ModuleTransfersAndKeeps(Transfers, Keeps):
    pass


ALL = [("before", 0), ("to cpu", 0), ("after", 0)]


def test_hooks_of_the_module_change_the_batch_in_order(tmp_path: Path) -> None:
    net = ModuleTransfersAndKeeps()
    fit(tmp_path, net, data=rows(1))
    assert net.said == ALL
    assert torch.equal(net.kept, (next(iter(rows(1))) + 1) * 2 - 3)


def test_hooks_of_the_datamodule_change_the_batch(tmp_path: Path) -> None:
    net, data = Keeps(), DataTransfers()
    fit(tmp_path, net, datamodule=data, limit_val_batches=0)
    assert data.said == ALL
    assert torch.equal(net.kept, (next(iter(rows(1))) + 1) * 2 - 3)


def test_hooks_of_the_datamodule_win_and_say_so(tmp_path: Path) -> None:
    net, data = ModuleTransfersAndKeeps(), DataTransfers()
    with pytest.warns(UserWarning, match="the datamodule's is used") as caught:
        fit(tmp_path, net, datamodule=data, limit_val_batches=0)
    assert net.said == []
    assert data.said == ALL
    assert [name for name in NAMES if any(f"`{name}`" in str(one.message) for one in caught)] == list(NAMES)


def test_hooks_of_the_module_count_beside_a_datamodule_without_and_say_so(tmp_path: Path) -> None:
    net = ModuleTransfersAndKeeps()
    with pytest.warns(UserWarning, match="module only"):
        fit(tmp_path, net, datamodule=Data(), limit_val_batches=0)
    assert net.said == ALL


def test_hooks_get_the_index_of_the_loader(tmp_path: Path) -> None:
    data = DataTransfers()
    trainer_with(tmp_path).validate(Keeps(), datamodule=data, verbose=False)
    assert [said for said in data.said if said[0] == "before"] == [("before", 0), ("before", 1)]


class Doubles(FullPrecision):
    """Converts what comes from the loader."""

    def convert_input(self, data: Any) -> Any:
        return data.double()


@pytest.mark.parametrize("kind", [Keeps, ModuleTransfersAndKeeps])
def test_precision_converts_the_batch_first(kind: type[Keeps], tmp_path: Path) -> None:
    net = kind()
    trainer_with(tmp_path, plugins=Doubles()).validate(net, rows(1), verbose=False)
    assert net.kept.dtype == torch.float64


@pytest.mark.parametrize("name", NAMES)
def test_one_hook_alone_leaves_the_others_as_they_are(name: str, tmp_path: Path) -> None:
    class One(Keeps):
        said: tuple[str, ...] = ()

    def hook(self: Any, batch: Any, *args: Any) -> Any:
        self.said = (*self.said, name)
        return batch

    setattr(One, name, hook)
    net = One()
    fit(tmp_path, net, data=rows(2))
    assert net.said == (name, name)
    assert torch.equal(net.kept, list(rows(2))[1])


def test_nested_batches_and_strange_objects_arrive(tmp_path: Path) -> None:
    class Own:
        def __init__(self) -> None:
            self.moved_to: Any = None

        def to(self, device: Any) -> "Own":
            self.moved_to = device
            return self

    class Nested(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.kept = batch
            return self.loss(batch["rows"][0])

    net, own = Nested(), Own()
    batch = {"rows": (torch.ones(2, 3),), "own": own, "name": "x", "nothing": None}
    fit(tmp_path, net, data=iter([batch]))
    assert net.kept["own"].moved_to == torch.device("cpu")
    assert (net.kept["name"], net.kept["nothing"]) == ("x", None)
