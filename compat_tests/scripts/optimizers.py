"""What configure_optimizers may return, one run for each form, and what's refused."""

import json
import sys
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import ExponentialLR, ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader


def plateau(optimizer):
    return {"scheduler": ReduceLROnPlateau(optimizer, patience=0), "monitor": "loss", "strict": False}


def pair(model):
    return SGD(model.a.parameters(), 0.1), Adam(model.b.parameters(), 0.01)


def step_named(optimizer):
    return {"scheduler": StepLR(optimizer, 1), "interval": "step", "frequency": 2, "name": "mine"}


def one_with_plateau(model):
    optimizer = SGD(model.parameters(), 0.1)
    return {"optimizer": optimizer, "lr_scheduler": ReduceLROnPlateau(optimizer, patience=0), "monitor": "loss"}


def dictionaries(model):
    a, b = pair(model)
    return (
        {"optimizer": a, "lr_scheduler": {"scheduler": ExponentialLR(a, 0.9), "interval": "step"}},
        {"optimizer": b},
    )


FORMS = {
    "one": lambda m: SGD(m.parameters(), 0.1),
    "none": lambda m: None,
    "list of one": lambda m: [Adam(m.parameters(), 0.01)],
    "lists": lambda m: (lambda o: ([o], [ExponentialLR(o, 0.5)]))(SGD(m.parameters(), 0.1)),
    "lists with dict": lambda m: (lambda o: ([o], [step_named(o)]))(SGD(m.parameters(), 0.1)),
    "two schedulers": lambda m: (lambda o: ([o], [StepLR(o, 1, 0.5), plateau(o)]))(SGD(m.parameters(), 0.1)),
    "dict": lambda m: {"optimizer": SGD(m.parameters(), 0.1)},
    "dict with scheduler": lambda m: (lambda o: {"optimizer": o, "lr_scheduler": StepLR(o, 1)})(Adam(m.parameters())),
    "dict with plateau": one_with_plateau,
    "groups": lambda m: SGD([{"params": m.a.parameters()}, {"params": m.b.parameters(), "lr": 0.3}], 0.1),
    "manual: two": lambda m: pair(m),
    "manual: dictionaries": dictionaries,
    "manual: lists": lambda m: (lambda a, b: ([a, b], [StepLR(b, 1)]))(*pair(m)),
    "refused: number": lambda m: 3,
    "refused: two, automatic": lambda m: pair(m),
    "refused: plateau without monitor": lambda m: (lambda o: ([o], [ReduceLROnPlateau(o)]))(SGD(m.parameters(), 0.1)),
    "refused: interval": lambda m: (lambda o: ([o], [{**step_named(o), "interval": "day"}]))(SGD(m.parameters(), 0.1)),
}  # fmt: skip


class Model(LightningModule):
    def __init__(self, form):
        super().__init__()
        self.form, self.losses = form, []
        self.automatic_optimization = not form.startswith("manual")
        self.a, self.b = torch.nn.Linear(4, 4), torch.nn.Linear(4, 1)

    def training_step(self, batch, batch_idx):
        loss = self.b(self.a(batch)).pow(2).mean()
        self.losses.append(loss.item())
        self.log("loss", loss)
        if self.automatic_optimization:
            return loss
        for optimizer in self.optimizers():
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()

    def configure_optimizers(self):
        return FORMS[self.form](self)


def describe(config):
    scheduler = type(config.scheduler).__name__
    return [scheduler, config.interval, config.frequency, config.monitor, config.reduce_on_plateau, config.name]


def main(folder):
    observed = {}
    for form in FORMS:
        seed_everything(2)
        model = Model(form)
        trainer = Trainer(
            max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=folder,
        )  # fmt: skip
        try:
            trainer.fit(model, DataLoader(torch.randn(12, 4), batch_size=4))
        except (MisconfigurationException, RuntimeError) as error:
            kinds = (MisconfigurationException, RuntimeError)
            observed[form] = next(kind.__name__ for kind in kinds if isinstance(error, kind))
            continue
        wrapped = model.optimizers()
        wrapped = wrapped if isinstance(wrapped, list) else [wrapped]
        observed[form] = {
            "losses": model.losses,
            "step": trainer.global_step,
            "optimizers": [type(optimizer).__name__ for optimizer in trainer.optimizers if optimizer.param_groups],
            "wrapped": [isinstance(optimizer, LightningOptimizer) for optimizer in wrapped],
            "rates": [group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups],
            "schedulers": [describe(config) for config in trainer.lr_scheduler_configs],
        }
    (folder / "observed.json").write_text(json.dumps(observed, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
