"""Everything self.log takes: per step and per epoch, reductions, dictionaries, torchmetrics, and what's refused."""

import json
import sys
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MaxMetric, MeanMetric, MeanSquaredError, MetricCollection


class Model(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.train_mse, self.val_mse = MeanSquaredError(), MeanSquaredError()
        self.several = MetricCollection({"mean": MeanMetric(), "max": MaxMetric()}, prefix="several/")
        self.computed = MeanMetric()
        self.seen, self.refused = [], []

    def _metrics(self):
        return {key: float(value) for key, value in sorted(self.trainer.callback_metrics.items())}

    def training_step(self, batch, batch_idx):
        x, y = batch
        prediction = self.layer(x)
        loss = (prediction - y).pow(2).mean()
        self.log("plain", loss)
        self.log("both", loss, on_step=True, on_epoch=True, prog_bar=True)
        self.log("epoch_only", loss, on_step=False, on_epoch=True)
        self.log("bar_only", loss, prog_bar=True, logger=False)
        self.log("number", batch_idx + 0.5, on_epoch=True, on_step=False)
        self.log("tensor/int", torch.tensor(batch_idx), on_epoch=True, on_step=False, batch_size=1)
        for reduce_fx in ("min", "max", "sum", "mean", torch.sum):
            name = reduce_fx if isinstance(reduce_fx, str) else "torch_sum"
            self.log(f"reduced_{name}", x.sum(), reduce_fx=reduce_fx, on_step=False, on_epoch=True)
        self.log("weighted", float(batch_idx), on_step=False, on_epoch=True, batch_size=batch_idx + 1)
        self.log_dict({"dict/a": loss, "dict/b": loss.detach() * 2}, on_step=True, on_epoch=False)
        self.train_mse(prediction, y)
        self.log("train_mse", self.train_mse, on_step=True, on_epoch=True)
        self.computed.update(loss)
        return loss

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.log("at_batch_end", batch_idx * 1.0)
        self.seen.append(self._metrics())

    def on_train_epoch_end(self):
        self.log("computed", self.computed.compute())
        self.computed.reset()
        if self.current_epoch == 0:
            for kwargs in ({"on_step": True}, {"reduce_fx": "median"}, {"value": torch.ones(2)}, {"value": "text"}):
                try:
                    self.log("wrong", **{"value": 1.0, **kwargs})
                except (MisconfigurationException, ValueError):
                    self.refused.append(str(sorted(kwargs)))

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.val_mse.update(self.layer(x), y)
        self.several.update((self.layer(x) - y).abs())
        self.log("val_mse", self.val_mse, prog_bar=True)
        self.log_dict(self.several)
        self.log("val_step", x.sum(), on_step=True, on_epoch=True)

    def on_validation_epoch_end(self):
        self.log("val_end", 7.0)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def main(folder):
    L.seed_everything(17)
    x = torch.randn(14, 2)
    data = TensorDataset(x, x.sum(1, keepdim=True))
    model = Model()
    trainer = L.Trainer(
        max_epochs=2,
        accelerator="cpu",
        log_every_n_steps=2,
        logger=CSVLogger(folder, name="csv"),
        default_root_dir=folder,
    )
    trainer.fit(model, DataLoader(data, batch_size=4), DataLoader(data, batch_size=5))
    observed = {
        "seen": model.seen,
        "refused": model.refused,
        "callback_metrics": model._metrics(),
        "logged": {key: float(value) for key, value in sorted(trainer.logged_metrics.items())},
        "bar": {key: float(value) for key, value in sorted(trainer.progress_bar_metrics.items())},
        "validated": trainer.validate(model, DataLoader(data, batch_size=5), verbose=False),
    }
    (folder / "observed.json").write_text(json.dumps(observed, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
