"""Transfer learning: a backbone from a checkpoint, frozen, then unfrozen by a callback after some epochs."""

import json
import sys
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import BackboneFinetuning, BaseFinetuning
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Pretrained(pl.LightningModule):
    def __init__(self, width=4):
        super().__init__()
        self.save_hyperparameters()
        self.features = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.ReLU())
        self.head = nn.Linear(width, 3)

    def training_step(self, batch, batch_idx):
        return nn.functional.mse_loss(self.head(self.features(batch[0])), batch[0])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Classifier(pl.LightningModule):
    def __init__(self, backbone, every_parameter=False):
        super().__init__()
        self.backbone, self.head = backbone, nn.Linear(4, 2)
        self.every_parameter = every_parameter
        self.losses, self.groups = [], []

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.cross_entropy(self.head(self.backbone(x)), y)
        self.losses.append(loss.item())
        return loss

    def on_train_epoch_end(self):
        groups = self.optimizers().param_groups
        frozen = sum(not parameter.requires_grad for parameter in self.parameters())
        self.groups.append([[len(group["params"]), group["lr"]] for group in groups] + [frozen])

    def configure_optimizers(self):
        trained = self.parameters() if self.every_parameter else filter(lambda p: p.requires_grad, self.parameters())
        return torch.optim.SGD(trained, lr=0.1, momentum=0.5)


class Stages(BaseFinetuning):
    def __init__(self, unfreeze_at=1):
        super().__init__()
        self.unfreeze_at = unfreeze_at

    def freeze_before_training(self, pl_module):
        self.freeze(pl_module.backbone, train_bn=False)

    def finetune_function(self, pl_module, epoch, optimizer):
        if epoch == self.unfreeze_at:
            self.unfreeze_and_add_param_group(pl_module.backbone[0], optimizer, lr=0.01)


def main(folder):
    pl.seed_everything(19)
    x = torch.randn(24, 3)
    data = DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), batch_size=8)

    def trainer(max_epochs, *callbacks, **kwargs):
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, **kwargs}
        return pl.Trainer(
            max_epochs=max_epochs, accelerator="cpu", callbacks=[*callbacks], default_root_dir=folder, **quiet
        )

    first = trainer(2)
    first.fit(Pretrained(), data)
    path = first.checkpoint_callback.best_model_path

    pretrained = Pretrained.load_from_checkpoint(path)
    pretrained.freeze()
    observed = {"frozen": [p.requires_grad for p in pretrained.parameters()], "training": pretrained.training}
    model = Classifier(pretrained.features)
    trainer(2, enable_checkpointing=False).fit(model, data)
    observed["by hand"] = [model.losses, model.groups, pretrained.features[1].training]
    pretrained.unfreeze()
    observed["unfrozen"] = [all(p.requires_grad for p in pretrained.parameters()), pretrained.training]

    for name, callback, epochs in (
        ("stages", Stages(), 3),
        ("backbone", BackboneFinetuning(2, lambda epoch: 1.5, backbone_initial_ratio_lr=0.1), 5),
    ):
        pl.seed_everything(20)
        model = Classifier(Pretrained.load_from_checkpoint(path).features)
        run = trainer(epochs, callback)
        run.fit(model, data)
        observed[name] = [model.losses, model.groups]
    resumed = Classifier(Pretrained.load_from_checkpoint(path).features)
    trainer(6, BackboneFinetuning(2, lambda epoch: 1.5), enable_checkpointing=False).fit(
        resumed, data, ckpt_path=run.checkpoint_callback.best_model_path
    )
    observed["resumed"] = [resumed.losses, resumed.groups]
    (folder / "observed.json").write_text(json.dumps(observed, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
