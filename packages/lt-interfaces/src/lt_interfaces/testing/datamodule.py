"""What every datamodule promises."""

import io

import pytest
import torch

from lt_interfaces.datamodule import DataModule


class DataModuleContract:
    """Subclass it and override `datamodule`; `loaders` names the loaders it has."""

    loaders: tuple[str, ...] = ("train_dataloader", "val_dataloader", "test_dataloader", "predict_dataloader")

    @pytest.fixture
    def datamodule(self) -> DataModule:
        """Return the datamodule to check, not used before."""
        raise NotImplementedError

    def test_says_where_it_prepares(self, datamodule: DataModule) -> None:
        assert datamodule.prepare_data_per_node in (True, False)

    def test_every_loader_gives_a_batch_after_setup(self, datamodule: DataModule) -> None:
        stages = {"train": "fit", "val": "fit", "test": "test", "predict": "predict"}
        datamodule.prepare_data()
        for name in self.loaders:
            datamodule.setup(stages[name.removesuffix("_dataloader")])
            assert next(iter(getattr(datamodule, name)())) is not None

    def test_may_be_prepared_and_set_up_again(self, datamodule: DataModule) -> None:
        for _ in range(2):
            datamodule.prepare_data()
            datamodule.setup("fit")
            datamodule.teardown("fit")

    def test_tears_down_without_having_been_set_up(self, datamodule: DataModule) -> None:
        datamodule.teardown("fit")

    def test_its_state_loads_without_unpickling_objects(self, datamodule: DataModule) -> None:
        file = io.BytesIO()
        torch.save(datamodule.state_dict(), file)
        file.seek(0)
        datamodule.load_state_dict(torch.load(file, weights_only=True))

    def test_hears_of_an_exception(self, datamodule: DataModule) -> None:
        datamodule.on_exception(KeyboardInterrupt())

    def test_moves_a_batch_and_keeps_its_values(self, datamodule: DataModule) -> None:
        batch = {"x": torch.ones(2), "name": "a"}
        batch = datamodule.on_before_batch_transfer(batch, 0)
        batch = datamodule.transfer_batch_to_device(batch, torch.device("cpu"), 0)
        batch = datamodule.on_after_batch_transfer(batch, 0)
        assert torch.equal(batch["x"], torch.ones(2))
        assert batch["name"] == "a"
