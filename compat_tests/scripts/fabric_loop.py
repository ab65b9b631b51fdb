"""A loop of one's own with Fabric: set up, backward, clip, log, save, load, callbacks, and a second optimizer."""

import json
import sys
from pathlib import Path

import lightning.fabric
import torch
from lightning.fabric import Fabric, seed_everything
from lightning.fabric.loggers import CSVLogger
from lightning.fabric.utilities import move_data_to_device, rank_zero_only
from lightning.fabric.wrappers import is_wrapped
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Listener:
    def __init__(self):
        self.heard = []

    def on_epoch_end(self, epoch, loss):
        self.heard.append([epoch, loss])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(3, 6), nn.Linear(6, 1)

    def forward(self, x):
        return self.head(self.body(x).tanh())

    def loss(self, x, y):
        return (self(x) - y).pow(2).mean()


def build(fabric):
    with fabric.init_module():
        model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    model, optimizer = fabric.setup(model, optimizer)
    model.mark_forward_method("loss")
    return model, optimizer


def train(fabric, model, optimizer, loader, state, epochs):
    losses = []
    for epoch in range(state["epoch"], epochs):
        model.train()
        for index, (x, y) in enumerate(loader):
            accumulating = index % 2 == 0
            with fabric.no_backward_sync(model, enabled=accumulating):
                loss = model.loss(x, y)
                fabric.backward(loss)
            losses.append(loss.item())
            if accumulating:
                continue
            norm = fabric.clip_gradients(model, optimizer, max_norm=0.5)
            optimizer.step()
            optimizer.zero_grad()
            state["step"] += 1
            fabric.log_dict({"loss": loss, "norm": norm}, step=state["step"])
        fabric.call("on_epoch_end", epoch=epoch, loss=losses[-1])
        state["epoch"] = epoch + 1
    return losses


def main(folder):
    listener, logger = Listener(), CSVLogger(folder, name="fabric", flush_logs_every_n_steps=1)
    fabric = Fabric(accelerator="cpu", devices=1, callbacks=[listener], loggers=logger)
    fabric.launch()
    seed_everything(14)
    x = torch.randn(24, 3)
    loader = fabric.setup_dataloaders(DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=4, shuffle=True))
    model, optimizer = build(fabric)
    state = {"model": model, "optimizer": optimizer, "epoch": 0, "step": 0}
    observed = {"losses": train(fabric, model, optimizer, loader, state, epochs=2)}
    fabric.save(folder / "state.ckpt", state)
    fabric.save(
        folder / "filtered.ckpt", {"model": model}, filter={"model": lambda name, value: name.startswith("head")}
    )

    torch.manual_seed(15)
    observed["continued"] = train(fabric, model, optimizer, loader, state, epochs=3)
    again, its_optimizer = build(fabric)
    restored = {"model": again, "optimizer": its_optimizer, "epoch": 0, "step": 0}
    rest = fabric.load(folder / "state.ckpt", restored)
    torch.manual_seed(15)
    observed["restored"] = train(fabric, again, its_optimizer, loader, restored, epochs=3)
    observed["rest"] = sorted(rest)
    observed["file"] = sorted(fabric.load(folder / "state.ckpt"))
    observed["filtered"] = sorted(torch.load(folder / "filtered.ckpt")["model"])
    observed["heard"] = listener.heard
    observed["wrapped"] = [
        is_wrapped(model),
        is_wrapped(optimizer),
        isinstance(model, Net),
        type(model.module).__name__,
    ]
    observed["places"] = [fabric.world_size, fabric.global_rank, fabric.is_global_zero, str(fabric.device)]
    observed["gathered"] = [
        fabric.all_gather(torch.ones(2)).tolist(),
        fabric.broadcast("x"),
        fabric.all_reduce(3.0, reduce_op="sum"),
    ]
    observed["moved"] = move_data_to_device({"a": [torch.ones(1)]}, "cpu")["a"][0].item()
    observed["rank"] = rank_zero_only.rank
    observed["logger"] = [logger.name, logger.version, lightning.fabric.Fabric is Fabric]
    with fabric.autocast():
        observed["autocast"] = str(torch.nn.functional.linear(torch.ones(1, 2), torch.ones(1, 2)).dtype)
    (folder / "observed.json").write_text(json.dumps(observed, default=float, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
