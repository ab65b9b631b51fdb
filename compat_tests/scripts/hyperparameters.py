"""Hyper-parameters in all their forms, and load_from_checkpoint with and without overrides."""

import json
import sys
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.core.mixins import HyperparametersMixin
from lightning.pytorch.core.saving import load_hparams_from_yaml, save_hparams_to_yaml
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader


class Base(L.LightningModule):
    def __init__(self, width=2, **kwargs):
        super().__init__()
        self.layer = torch.nn.Linear(2, width)

    def training_step(self, batch, batch_idx):
        return self.layer(batch).pow(2).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Everything(Base):
    def __init__(self, width=2, *, name="x", betas=(0.9, 0.99), extra=None, **kwargs):
        super().__init__(width)
        self.save_hyperparameters()


class Some(Base):
    def __init__(self, width=2, name="x", other=1.5):
        super().__init__(width)
        self.save_hyperparameters("width", "name")


class Ignoring(Base):
    def __init__(self, backbone, width=2, lr=0.1):
        super().__init__(width)
        self.save_hyperparameters(ignore=["backbone"])
        self.backbone = backbone


class FromDict(Base):
    def __init__(self, config, verbose=False):
        super().__init__(config["width"])
        self.save_hyperparameters(config)


class FromNamespace(Base):
    def __init__(self, args):
        super().__init__(args["width"] if isinstance(args, dict) else args.width)
        self.save_hyperparameters(args)


class Unlogged(Base):
    def __init__(self, width=2, secret="s"):
        super().__init__(width)
        self.save_hyperparameters("width")
        self.save_hyperparameters("secret", logger=False)


@dataclass
class Plain(HyperparametersMixin):
    depth: int = 3
    rate: float = 0.1

    def __post_init__(self):
        super().__init__()
        self.save_hyperparameters()


def main(folder):
    L.seed_everything(3)
    models = {
        "everything": Everything(3, name="y", extra={"depth": 2, "path": [1, 2]}, more=7),
        "some": Some(3, other=2.5),
        "ignoring": Ignoring(torch.nn.Linear(1, 1), lr=0.2),
        "dict": FromDict({"width": 4, "lr": 0.1}),
        "namespace": FromNamespace(Namespace(width=4, lr=0.3)),
        "unlogged": Unlogged(),
    }
    observed = {"plain": dict(Plain(depth=4).hparams)}
    overrides = {"everything": {"name": "z"}, "ignoring": {"backbone": torch.nn.Linear(1, 1), "lr": 0.4}}
    for name, model in models.items():
        trainer = L.Trainer(
            max_epochs=1, accelerator="cpu", logger=CSVLogger(folder, name=name), enable_progress_bar=False,
            enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(model, DataLoader(torch.ones(2, 2)))
        path = trainer.checkpoint_callback.best_model_path
        file = torch.load(path, weights_only=False)
        loaded = type(model).load_from_checkpoint(path, **overrides.get(name, {}))
        pairs = zip(model.state_dict().values(), loaded.state_dict().values(), strict=True)
        same = all(torch.equal(a, b) for a, b in pairs)
        given = {key: str(value) for key, value in sorted(model.hparams.items())}
        again = {key: str(value) for key, value in sorted(loaded.hparams.items())}
        named = file["hparams_name"]
        observed[name] = {"hparams": given, "loaded": again, "same weights": same or "backbone", "hparams_name": named}
    save_hparams_to_yaml(str(folder / "mine.yaml"), {"width": 3, "name": "from file"})
    observed["yaml"] = dict(load_hparams_from_yaml(str(folder / "mine.yaml")))
    last = folder / "some/version_0/checkpoints/epoch=0-step=2.ckpt"
    observed["hparams_file"] = dict(Some.load_from_checkpoint(last, hparams_file=folder / "mine.yaml").hparams)
    wider = Everything.load_from_checkpoint(last, width=3, strict=False)
    observed["attribute"] = [wider.hparams.width, wider.hparams["name"], "betas" in wider.hparams]
    (folder / "observed.json").write_text(json.dumps(observed, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
