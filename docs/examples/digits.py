"""Train a small convolutional network on scikit-learn's handwritten digits."""

import torch
from digits_pictures import draw_pictures
from torch import Tensor, nn

import lt


class DigitClassifier(lt.LightningModule):
    def __init__(self, channels: int = 16, lr: float = 1e-2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(channels, 2 * channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(8 * channels, 10),
        )  # fmt: skip
        self.example_input_array = torch.zeros(1, 1, 8, 8)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self.evaluate(batch, "train")

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.evaluate(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.evaluate(batch, "test")

    def evaluate(self, batch: tuple[Tensor, Tensor], name: str) -> Tensor:
        images, digits = batch
        logits = self(images)
        loss = nn.functional.cross_entropy(logits, digits)
        accuracy = (logits.argmax(dim=1) == digits).float().mean()
        self.log_dict({f"{name}_loss": loss, f"{name}_accuracy": accuracy}, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=self.hparams.lr)


if __name__ == "__main__":
    lt.seed_everything(7)
    model, data = DigitClassifier(), lt.datamodules.DigitsDataModule(batch_size=32, augment=True)
    csv = lt.loggers.CSVLogger("runs", name="digits")
    tensorboard = lt.loggers.TensorBoardLogger("runs", name="digits", version=csv.version)
    keep_best = lt.callbacks.ModelCheckpoint(monitor="val_loss")
    trainer = lt.Trainer(
        max_epochs=20, logger=[csv, tensorboard], callbacks=[keep_best], log_every_n_steps=10, seed_items=True
    )
    trainer.fit(model, datamodule=data)
    trainer.test(ckpt_path="best", datamodule=data)
    draw_pictures(model, data.test_set, csv.log_dir)
