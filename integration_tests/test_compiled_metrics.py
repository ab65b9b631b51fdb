"""torchmetrics' objects in compiled steps."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import clear_compilation_metrics, get_compilation_metrics
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric, MeanSquaredError, MetricCollection

from lt_core import LightningModule, Trainer


class Net(LightningModule):
    """Measures in each way that there is: by a call, by an update, and by several at once."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)
        self.mean, self.squares = MeanMetric(), MeanSquaredError()
        self.several = MetricCollection({"several": MeanSquaredError(squared=False)})

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        out = self.layer(batch)
        loss = (out - 1).square().mean()
        self.mean(loss)
        self.squares.update(out, torch.ones_like(out))
        self.several(out, torch.ones_like(out))
        self.log("mean", self.mean, on_step=True, on_epoch=True)
        self.log("squares", self.squares, on_step=False, on_epoch=True)
        self.log_dict(self.several, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fitted(root: Path, compile: Any) -> dict[str, Tensor]:
    """Fit for two epochs and return what was logged."""
    torch.manual_seed(0)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = Trainer(accelerator="cpu", max_epochs=2, compile=compile, default_root_dir=root, **quiet)
    data: Any = torch.randn(24, 3, generator=torch.Generator().manual_seed(0))
    trainer.fit(Net(), DataLoader(data, batch_size=2))
    return trainer.callback_metrics


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch looks at it itself, behind a break
def test_torchmetrics_count_on_in_compiled_steps_and_compile_nothing_anew(tmp_path: Path) -> None:
    torch._dynamo.reset()
    clear_compilation_metrics()
    expected = fitted(tmp_path, compile=False)
    found = fitted(tmp_path, compile={"backend": "eager"})
    assert {"mean_step", "mean_epoch", "squares", "several"} <= set(expected)
    torch.testing.assert_close(found, expected)
    assert [one.recompile_reason for one in get_compilation_metrics() if one.recompile_reason] == []
