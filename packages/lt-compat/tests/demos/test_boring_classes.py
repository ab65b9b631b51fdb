"""The demos train as Lightning's do. All numbers were observed from Lightning 2.6.6."""

from typing import Any

import pytest
import torch
from demo_losses import losses_of
from torch.utils.data import Subset

from lt_compat.demos import boring_classes as demos
from lt_core import LightningModule, Trainer, seed_everything

DRAWN = [[0.8033, 0.1748, 0.0890, -0.6137], [0.0462, -1.3683, 0.3375, 1.0111], [-1.4352, 0.9774, 0.5220, 1.2379]]


@pytest.mark.parametrize(
    ("module", "data", "losses"),
    [
        (demos.BoringModel, None, [1.4558, 0.66605, 0.35228, 5.5557, 0.63592, 1.25431]),
        (demos.ManualOptimBoringModel, None, [1.4558, 0.66605, 0.35228, 5.5557, 0.7838, 3.93087]),
        (demos.BoringModel, demos.BoringDataModule, [1.4558, 0.66605, 0.35228, 5.5557, 0.63592, 1.25431]),
        (demos.BoringModel, demos.BoringDataModuleNoLen, [0.55392, 0.63729, 0.24134, 2.64153, 2.19604, 7.30156]),
    ],
)
def test_the_same_seed_gives_the_losses_of_lightning(module: type, data: type | None, losses: list[float]) -> None:
    seed_everything(7, verbose=False)
    made = module()
    assert losses_of(made, data() if data is not None else None) == pytest.approx(losses, abs=1e-5)


def test_demo_model_trains_as_lightnings() -> None:
    seed_everything(7, verbose=False)
    model = demos.DemoModel()
    batches = [torch.randn(2, 32) for _ in range(3)]
    assert losses_of(model, batches=batches) == pytest.approx([2.66891, 5.12923, 4.79392], abs=1e-5)
    assert demos.DemoModel(out_dim=4, learning_rate=0.1).configure_optimizers().param_groups[0]["lr"] == 0.1


def test_steps_return_what_lightnings_return() -> None:
    seed_everything(7, verbose=False)
    model = demos.BoringModel()
    batch = torch.randn(3, 32)
    assert model.training_step(batch, 0)["loss"].item() == pytest.approx(1.0325, abs=1e-4)
    assert model.validation_step(batch, 0)["x"].item() == pytest.approx(1.0325, abs=1e-4)
    assert model.test_step(batch, 0)["y"].item() == pytest.approx(1.0325, abs=1e-4)
    assert model.loss(model(batch), torch.zeros(3, 2)).item() == pytest.approx(0.1585, abs=1e-4)
    [optimizer], [scheduler] = model.configure_optimizers()
    assert (optimizer.defaults["lr"], scheduler.step_size, scheduler.gamma) == (0.1, 1, 0.1)


def test_every_stage_runs() -> None:
    quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(fast_dev_run=True, accelerator="cpu", **quiet)
    model = demos.BoringModel()
    for data in (None, demos.BoringDataModule(), demos.BoringDataModuleNoLen()):
        trainer.fit(model, datamodule=data)
        assert trainer.validate(model, datamodule=data, verbose=False) == [{}]
        assert trainer.test(model, datamodule=data, verbose=False) == [{}]
        assert [tuple(batch.shape) for batch in trainer.predict(model, datamodule=data) or []] == [(1, 2)]


def test_random_datasets_draw_what_lightnings_draw() -> None:
    torch.manual_seed(3)
    assert demos.RandomDataset(4, 3)[1].tolist() == pytest.approx(DRAWN[1], abs=1e-4)
    torch.manual_seed(3)
    item = demos.RandomDictDataset(4, 3)[1]
    assert item["a"].tolist() == pytest.approx(DRAWN[1], abs=1e-4)
    assert item["b"].tolist() == pytest.approx([2.0462, 0.6317, 2.3375, 3.0111], abs=1e-4)
    for kind in (demos.RandomIterableDataset, demos.RandomIterableDatasetWithLen):
        torch.manual_seed(3)
        for vector, expected in zip(kind(4, 3), DRAWN, strict=True):
            assert vector.tolist() == pytest.approx(expected, abs=1e-4)


def test_only_sized_datasets_have_a_length() -> None:
    assert (len(demos.RandomDataset(4, 3)), len(demos.RandomDictDataset(4, 3))) == (3, 3)
    assert len(demos.RandomIterableDatasetWithLen(4, 3)) == 3
    with pytest.raises(TypeError):
        len(demos.RandomIterableDataset(4, 3))  # type: ignore[arg-type]


def test_each_stage_has_its_quarter() -> None:
    quarters = {}
    for stage in ("fit", "validate", "test", "predict"):
        data = demos.BoringDataModule()
        data.setup(stage)
        quarters[stage] = {name: part.indices for name, part in vars(data).items() if isinstance(part, Subset)}
    assert quarters == {
        "fit": {"random_train": range(64), "random_val": range(64, 128)},
        "validate": {"random_val": range(64, 128)},
        "test": {"random_test": range(128, 192)},
        "predict": {"random_predict": range(192, 256)},
    }


@pytest.mark.parametrize(
    ("stage", "loader", "length"),
    [("fit", "train", 16), ("validate", "val", 32), ("test", "test", 64), ("predict", "predict", 128)],
)
def test_each_stage_has_two_loaders_with_and_without_a_length(stage: str, loader: str, length: int) -> None:
    data = demos.IterableBoringDataModule()
    data.setup(stage)
    sized, unsized = getattr(data, f"{loader}_dataloader")()
    assert len(sized) == length
    assert (type(unsized.dataset), unsized.dataset.count) == (demos.RandomIterableDataset, length)
    assert next(iter(unsized)).shape == next(iter(sized)).shape == (1, 4)


def test_net_returns_log_probabilities_for_images() -> None:
    torch.manual_seed(3)
    net = demos.Net()
    net(torch.ones(2, 1, 28, 28))  # as when the number was observed: dropout draws
    output = net(torch.ones(2, 1, 28, 28))
    assert output.shape == (2, 10)
    assert output.exp().sum().item() == pytest.approx(2, abs=1e-5)
    assert output.sum().item() == pytest.approx(-46.0976, abs=1e-3)


def test_they_are_a_users_base_classes() -> None:
    class Mine(demos.BoringModel):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return super().training_step(batch, batch_idx)["loss"] * 2

    assert isinstance(Mine(), LightningModule)
    seed_everything(7, verbose=False)
    assert losses_of(Mine())[0] == pytest.approx(2 * 1.4558, abs=1e-4)
