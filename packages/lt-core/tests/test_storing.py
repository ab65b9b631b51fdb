"""Promises that `LightningModule`, saving and loading keep together."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lt_core import LightningModule, Trainer


class Net(LightningModule):
    def __init__(self, width: int, root: Path = Path("data"), **kwargs: Any) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = nn.Linear(width, 1)
        self.example_input_array = torch.zeros(2, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return [part.float() for part in batch] if isinstance(batch, list) else batch.float()

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self(batch[0]).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def fitted(tmp_path: Path) -> Net:
    net = Net(3, root=Path("elsewhere"), extra=1)
    trainer = Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False
    )
    trainer.fit(net, DataLoader(TensorDataset(torch.ones(4, 3)), batch_size=2))
    trainer.save_checkpoint(tmp_path / "net.ckpt")
    return net


def test_what_a_trainer_saved_comes_back_with_arguments_and_weights(fitted: Net, tmp_path: Path) -> None:
    loaded = Net.load_from_checkpoint(tmp_path / "net.ckpt")
    assert loaded.hparams == {"width": 3, "root": Path("elsewhere"), "extra": 1}
    torch.testing.assert_close(loaded.state_dict(), fitted.state_dict())
    with pytest.raises(TypeError, match="called on the class"):
        fitted.load_from_checkpoint(tmp_path / "net.ckpt")


def test_fitted_modules_export_with_their_batch_hooks(fitted: Net, tmp_path: Path) -> None:
    integers = torch.ones(2, 3, dtype=torch.int64)
    fitted.to_exported_program(tmp_path / "net.pt2", integers)
    program = torch.export.load(tmp_path / "net.pt2").module()
    torch.testing.assert_close(program(torch.ones(2, 3)), fitted(torch.ones(2, 3)))
    assert fitted.training


@pytest.mark.parametrize("method", ["script", "trace"])
def test_fitted_modules_compile_to_torchscript(fitted: Net, method: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        script = fitted.to_torchscript(method=method)
    torch.testing.assert_close(script(torch.ones(2, 3)), fitted(torch.ones(2, 3)))
