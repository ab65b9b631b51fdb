"""Two processes train one model on the CPU; the script starts the second one by itself."""

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lt


class Line(lt.LightningModule):
    """Learns a line from points."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        return nn.functional.mse_loss(self.layer(x), y)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self.loss(batch)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))  # the mean over the samples of all ranks

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


if __name__ == "__main__":
    lt.seed_everything(1)
    x = torch.linspace(-1, 1, 101)[:, None]
    points = TensorDataset(x, 2 * x + 1)
    trainer = lt.Trainer(accelerator="cpu", devices=2, strategy="ddp", max_epochs=5)
    trainer.fit(Line(), DataLoader(points, batch_size=8, shuffle=True, num_workers=0), DataLoader(points, batch_size=8))
    trainer.print(
        f"{trainer.world_size} ranks, {trainer.global_step} steps, {trainer.callback_metrics['val_loss']:.3f}"
    )
