from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Heard, Net, rows, trainer_with
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lt_core import LightningModule
from lt_fabric.data import CombinedLoader
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.testing.data import RandomIterableDataset


class Says(Net):
    """Predicts where a batch came from."""

    def predict_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return dataloader_idx, batch_idx


def test_one_loader_gives_a_list(tmp_path: Path) -> None:
    assert trainer_with(tmp_path).predict(Says(), rows(2)) == [(0, 0), (0, 1)]


def test_several_loaders_give_a_list_each(tmp_path: Path) -> None:
    assert trainer_with(tmp_path).predict(Says(), [rows(2), rows(1)]) == [[(0, 0), (0, 1)], [(1, 0)]]


def test_predictions_are_those_of_the_module(tmp_path: Path) -> None:
    net = Net()
    predictions = trainer_with(tmp_path).predict(net, rows(3))
    assert predictions is not None
    expected = net.layer(next(iter(rows(3)))).detach()
    assert torch.equal(predictions[0], expected)
    assert not any(prediction.requires_grad for prediction in predictions)


def test_forward_is_the_default_step(tmp_path: Path) -> None:
    class Forward(LightningModule):
        def forward(self, batch: Tensor) -> Tensor:
            return batch * 2

    predictions = trainer_with(tmp_path).predict(Forward(), [rows(1), rows(1)])
    assert predictions is not None
    assert torch.equal(predictions[1][0], next(iter(rows(1))) * 2)


def test_module_without_forward_cannot_predict(tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match="predict_step"):
        trainer_with(tmp_path).predict(LightningModule(), rows(1))


def test_predictions_may_be_kept_by_nobody(tmp_path: Path) -> None:
    heard = Heard()
    assert trainer_with(tmp_path, heard).predict(Says(), rows(3), return_predictions=False) is None
    assert heard.count("on_predict_batch_end") == 3


def test_nested_predictions_are_detached_wherever_tensors_are(tmp_path: Path) -> None:
    class Nested(Net):
        def predict_step(self, batch: Tensor, batch_idx: int) -> Any:
            return {"out": [self.layer(batch)], "name": "x"}

    predictions = trainer_with(tmp_path, inference_mode=False).predict(Nested(), rows(1))
    assert predictions is not None
    assert predictions[0]["name"] == "x"
    assert predictions[0]["out"][0].device.type == "cpu"


def test_none_is_worth_a_warning(tmp_path: Path) -> None:
    class Nothing(Net):
        def predict_step(self, batch: Tensor, batch_idx: int) -> Any:
            return None

    with pytest.warns(UserWarning, match="`predict_step` returned None"):
        assert trainer_with(tmp_path).predict(Nothing(), rows(1)) == [None]


@pytest.mark.parametrize(("limit", "batches"), [(1, 1), (0.5, 2), (0, 0), (9, 4)])
def test_limits_count_or_take_a_share(limit: Any, batches: int, tmp_path: Path) -> None:
    trainer = trainer_with(tmp_path, limit_predict_batches=limit)
    predictions = trainer.predict(Says(), rows(4))
    assert predictions is not None
    assert len(predictions) == batches
    assert trainer.num_predict_batches == ([batches] if limit else [])


def test_data_without_length_is_read_to_its_end(tmp_path: Path) -> None:
    loader = DataLoader(RandomIterableDataset(3, 6), batch_size=2)
    assert trainer_with(tmp_path).predict(Says(), loader) == [(0, 0), (0, 1), (0, 2)]


def test_order_of_shuffled_data_is_the_users_affair(tmp_path: Path) -> None:
    assert trainer_with(tmp_path).predict(Says(), rows(2, shuffle=True)) == [(0, 0), (0, 1)]


def test_step_without_the_index_cannot_take_several_loaders(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="dataloader_idx"):
        trainer_with(tmp_path).predict(Net(), [rows(1), rows(1)])


def test_combined_loader_must_be_sequential(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sequential"):
        trainer_with(tmp_path).predict(Says(), CombinedLoader([rows(1), rows(1)], "max_size"))


def test_hooks_are_heard_in_order(tmp_path: Path) -> None:
    heard = Heard()
    trainer_with(tmp_path, heard).predict(Net(), rows(1))
    assert heard.names == [
        "setup",
        "on_predict_start",
        "on_predict_epoch_start",
        "on_predict_batch_start",
        "on_predict_batch_end",
        "on_predict_epoch_end",
        "on_predict_end",
        "teardown",
    ]


def test_module_predicts_in_evaluation_mode_and_gets_its_mode_back(tmp_path: Path) -> None:
    class Drops(Net):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout()

        def predict_step(self, batch: Tensor, batch_idx: int) -> Any:
            return self.training, self.drop.training, torch.is_inference_mode_enabled()

    net = Drops()
    net.drop.eval()
    assert trainer_with(tmp_path).predict(net, rows(1)) == [(False, False, True)]
    assert (net.training, net.drop.training) == (True, False)


def test_logging_is_refused_while_predicting(tmp_path: Path) -> None:
    class Logs(Net):
        def predict_step(self, batch: Tensor, batch_idx: int) -> Any:
            self.log("value", 1.0)

    with pytest.raises(MisconfigurationException, match="predict_step"):
        trainer_with(tmp_path).predict(Logs(), rows(1))


def test_gathering_changes_nothing_in_one_process(tmp_path: Path) -> None:
    class Scalar(Net):
        def predict_step(self, batch: Tensor, batch_idx: int) -> Any:
            return float(batch.sum())  # several ranks couldn't be brought together

    trainer = trainer_with(tmp_path)
    assert trainer.predict(Scalar(), rows(), gather=True) == trainer.predict(Scalar(), rows())


def test_what_is_not_kept_cannot_be_gathered(tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match=r"`return_predictions=False`.*`gather=True`"):
        trainer_with(tmp_path).predict(Net(), rows(), return_predictions=False, gather=True)
