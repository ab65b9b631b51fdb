"""A callback of one's own with state: saved with a checkpoint, restored on resume, one state for each of its kind."""

import json
import sys
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader


class Counter(Callback):
    """Counts what it's told to count."""

    def __init__(self, what="batches"):
        self.what = what
        self.state = {"batches": 0, "epochs": 0}
        self.heard = []

    @property
    def state_key(self):
        return self._generate_state_key(what=self.what)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if self.what == "batches":
            self.state["batches"] += 1

    def on_train_epoch_end(self, trainer, pl_module):
        if self.what == "epochs":
            self.state["epochs"] += 1

    def state_dict(self):
        self.heard.append("state_dict")
        return self.state.copy()

    def load_state_dict(self, state_dict):
        self.heard.append("load_state_dict")
        self.state.update(state_dict)


class Notes(Callback):
    """Adds to the file itself, and changes what's logged."""

    def __init__(self):
        self.found = None

    def setup(self, trainer, pl_module, stage):
        pl_module.stages.append(str(stage))

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.log("batch_sum", batch.sum())

    def on_save_checkpoint(self, trainer, pl_module, checkpoint):
        checkpoint["notes"] = {"step": trainer.global_step, "mean": pl_module.layer.weight.detach().mean()}

    def on_load_checkpoint(self, trainer, pl_module, checkpoint):
        self.found = {"step": checkpoint["notes"]["step"], "mean": checkpoint["notes"]["mean"].item()}

    def on_exception(self, trainer, pl_module, exception):
        pl_module.stages.append(f"exception: {exception}")


class Model(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
        self.stages = []
        self.fail_in_epoch = None

    def training_step(self, batch, batch_idx):
        if self.current_epoch == self.fail_in_epoch:
            raise KeyError("told to")
        return self.layer(batch).pow(2).mean()

    def configure_callbacks(self):
        return [Notes()]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def main(folder):
    seed_everything(9)
    data = DataLoader(torch.randn(12, 4), batch_size=4)

    def trainer(max_epochs):
        callbacks = [Counter("batches"), Counter("epochs")]
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
        return Trainer(max_epochs=max_epochs, accelerator="cpu", logger=False, callbacks=callbacks, **quiet)

    model, first = Model(), trainer(2)
    first.fit(model, data)
    first.save_checkpoint(folder / "counted.ckpt")
    file = torch.load(folder / "counted.ckpt", weights_only=False)

    resumed, second = Model(), trainer(3)
    resumed.fail_in_epoch = None
    second.fit(resumed, data, ckpt_path=folder / "counted.ckpt")
    third = Model()
    third.fail_in_epoch = 1
    try:
        trainer(3).fit(third, data)
    except KeyError as error:
        third.stages.append(repr(error))

    observed = {
        "states": {key: state for key, state in file["callbacks"].items() if key.startswith("Counter")},
        "notes": {"step": file["notes"]["step"], "mean": file["notes"]["mean"].item()},
        "found": [callback.found for callback in second.callbacks if isinstance(callback, Notes)],
        "counted": [callback.state for callback in second.callbacks if isinstance(callback, Counter)],
        "heard": [callback.heard for callback in second.callbacks if isinstance(callback, Counter)],
        "logged": second.callback_metrics["batch_sum"].item(),
        "stages": [model.stages, resumed.stages, third.stages],
        "order": [type(callback).__name__ for callback in second.callbacks],
    }
    (folder / "observed.json").write_text(json.dumps(observed, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
