"""Every hook of a callback, a module and a data module, in the order in which the Trainer calls them."""

import importlib
import json
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader

pl = importlib.import_module("pytorch_lightning")
ModelHooks = importlib.import_module("pytorch_lightning.core.hooks").ModelHooks
LambdaCallback = importlib.import_module("pytorch_lightning.callbacks.lambda_function").LambdaCallback

TRACE = []


def tracing(base, *names, label):
    """A class whose hooks write down that they were called, and go on."""

    def traced(name):
        def hook(self, *args, **kwargs):
            TRACE.append(f"{label}.{name}")
            return getattr(super(cls, self), name)(*args, **kwargs)

        return hook

    cls = type("Traced", (base,), {})
    for name in names:
        setattr(cls, name, traced(name))
    return cls


class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def forward(self, x):
        return self.layer(x)

    def training_step(self, batch, batch_idx):
        loss = self(batch).mean()
        self.log("loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val", self(batch).mean())

    def test_step(self, batch, batch_idx):
        self.log("test", self(batch).mean())

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


class Data(pl.LightningDataModule):
    def train_dataloader(self):
        return DataLoader(torch.ones(6, 2), batch_size=2)

    val_dataloader = test_dataloader = predict_dataloader = lambda self: DataLoader(torch.ones(2, 2), batch_size=2)


AROUND = [f"on_{stage}_{moment}" for stage in ("train", "validation", "test", "predict")
          for moment in ("start", "end", "epoch_start", "epoch_end", "batch_start", "batch_end")]  # fmt: skip
GRADIENTS = ["on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step"]
SHARED = [*AROUND, *GRADIENTS, "setup", "teardown", "on_fit_start", "on_fit_end", "on_save_checkpoint",
          "on_load_checkpoint"]  # fmt: skip
MODULE_HOOKS = [
    *SHARED, "prepare_data", "configure_callbacks", "configure_optimizers", "training_step", "backward",
    "validation_step", "test_step", "predict_step", "optimizer_step", "optimizer_zero_grad", "lr_scheduler_step",
    "configure_gradient_clipping", "on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer",
    "on_validation_model_eval", "on_validation_model_zero_grad", "on_test_model_eval", "on_predict_model_eval",
    "configure_model",
]  # fmt: skip
DATA_HOOKS = ["prepare_data", "setup", "teardown", "train_dataloader", "val_dataloader", "test_dataloader",
              "predict_dataloader", "state_dict"]  # fmt: skip
CALLBACK_HOOKS = [*SHARED, "on_sanity_check_start", "on_sanity_check_end"]


def listener(name):
    return lambda *args, **kwargs: TRACE.append(f"C.{name}")


def main(folder):
    pl.seed_everything(10)
    callback = LambdaCallback(**{name: listener(name) for name in CALLBACK_HOOKS})
    keep = pl.callbacks.ModelCheckpoint(folder, filename="kept")
    model = tracing(Model, *MODULE_HOOKS, label="M")()
    data = tracing(Data, *DATA_HOOKS, label="D")()
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    trainer = pl.Trainer(
        max_epochs=2, accelerator="cpu", accumulate_grad_batches=2, callbacks=[callback, keep], **quiet
    )
    observed = {"is": isinstance(model, ModelHooks)}
    calls = {
        "fit": lambda: trainer.fit(model, datamodule=data),
        "validate": lambda: trainer.validate(model, data, verbose=False),
        "test": lambda: trainer.test(model, data, ckpt_path="best", verbose=False),
        "predict": lambda: trainer.predict(model, data),
    }
    for name, call in calls.items():
        TRACE.clear()
        call()
        observed[name] = list(TRACE)
    (folder / "observed.json").write_text(json.dumps(observed, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
