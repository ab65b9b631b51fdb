"""What lt-core must do in an environment that holds no other package beside it: check_wheels.py runs this script there.

It trains without progress bar, logger and checkpoints, leaves no file, and names the package to install once something
is asked for that isn't there.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset

from lt_core import LightningModule, Trainer


class Regression(LightningModule):
    """The smallest module that learns."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Return the mean squared error of one batch."""
        inputs, targets = batch
        loss = torch.nn.functional.mse_loss(self.layer(inputs), targets)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return plain SGD."""
        return torch.optim.SGD(self.parameters(), lr=0.1)


def batches() -> DataLoader[tuple[torch.Tensor, ...]]:
    """Return 8 batches of 8 samples whose targets are the sums of their inputs."""
    torch.manual_seed(0)
    inputs = torch.randn(64, 4)
    return DataLoader(TensorDataset(inputs, inputs.sum(dim=1, keepdim=True)), batch_size=8)


def check_plain_training() -> None:
    """Train with the defaults: what isn't installed is silently absent."""
    trainer = Trainer(max_epochs=3, accelerator="cpu")
    trainer.fit(Regression(), batches())
    assert trainer.global_step == 24, trainer.global_step
    assert trainer.logger is None, trainer.logger
    assert trainer.callbacks == [], trainer.callbacks
    assert trainer.checkpoint_callback is None, trainer.checkpoint_callback
    assert trainer.progress_bar_callback is None, trainer.progress_bar_callback
    assert float(trainer.callback_metrics["loss"]) < 0.1, trainer.callback_metrics
    assert not list(Path().iterdir()), "a run without logger and checkpoints left files"


def check_refusal(ask: Callable[[], object], package: str) -> None:
    """Ask for something that another package brings, and expect the line that installs it."""
    answer = "nothing"
    try:
        ask()
    except Exception as refusal:
        answer = str(refusal)
    assert f"pip install {package}" in answer, f"asked for what {package} brings, was told: {answer}"


def main() -> None:
    """Train, then ask for what isn't there."""
    check_plain_training()
    check_refusal(lambda: Trainer(enable_progress_bar=True), "lt-callbacks")
    check_refusal(lambda: Trainer(enable_checkpointing=True), "lt-callbacks")
    check_refusal(lambda: Trainer(enable_model_summary=True), "lt-callbacks")
    check_refusal(lambda: Trainer(logger=True), "lt-loggers")
    check_refusal(lambda: Trainer(accelerator="cpu", devices=2).fit(Regression(), batches()), "lt-strategies")


if __name__ == "__main__":
    main()
