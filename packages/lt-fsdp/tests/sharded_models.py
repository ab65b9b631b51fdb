"""Models for the ranks of a test, and what becomes of them when they're sharded."""

import os
from typing import Any
from unittest.mock import patch

import torch
from fsdp_ranks import connected
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from lt_fabric import Fabric
from lt_fsdp import FSDPStrategy, sharding
from lt_interfaces import MisconfigurationException
from lt_interfaces.testing.models import whole


class Block(nn.Module):
    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, states: Tensor) -> Tensor:
        return states + self.down(torch.relu(self.up(states)))


class Blocks(nn.Module):
    def __init__(self, width: int = 16, num_blocks: int = 4) -> None:
        super().__init__()
        self.first = nn.Linear(width, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(num_blocks))
        self.last = nn.Linear(width, width)

    def forward(self, states: Tensor) -> Tensor:
        states = self.first(states)
        for block in self.blocks:
            states = block(states)
        return self.last(states)


class Tied(nn.Module):
    """Has one weight in two blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.blocks[1].weight = self.blocks[0].weight

    def forward(self, states: Tensor) -> Tensor:
        return self.blocks[1](self.blocks[0](states))


class OwnScale(nn.Module):
    """Has a parameter of its own, steps, and calls itself in them."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([2.0, 3.0]))
        self.layer = nn.Linear(2, 2)

    def forward(self, states: Tensor) -> Tensor:
        return self.layer(states) * self.scale

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self(batch).square().mean() + self(batch).mean()


class Unfillable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 4))

    def forward(self, states: Tensor) -> Tensor:
        return states @ self.weight


def seeded(make: Any) -> Any:
    torch.manual_seed(3)
    return make()


def held_bytes(tensors: Any) -> int:
    """Return how many bytes of tensors this rank holds itself."""
    own = [tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in tensors]
    return sum(one.numel() * one.element_size() for one in own if isinstance(one, Tensor) and not one.is_meta)


def bytes_after_a_step() -> tuple[int, int]:
    """Return the bytes of parameters and optimizer state that a rank holds, and those of one process."""
    strategy, found = connected(), []
    for is_sharded in (True, False):
        model = seeded(Blocks)
        if is_sharded:
            strategy.setup(model, None)
        optimizer = torch.optim.AdamW(model.parameters())
        model(torch.ones(2, 16)).mean().backward()
        optimizer.step()
        state = [value for of_one in optimizer.state_dict()["state"].values() for value in of_one.values()]
        found.append(held_bytes([*model.parameters(), *state]))
    strategy.teardown()
    return found[0], found[1]


def most_bytes_while_built_from_meta(*, empty_init: bool | None) -> tuple[int, int, int, bool]:
    """Return the most bytes held while a model on meta is sharded; those of all shards, and of the largest unit."""
    strategy = connected()
    with strategy.init_context(empty_init=empty_init):
        model = Blocks(num_blocks=6)
    largest = max(sum(one.numel() * 4 for one in unit.parameters()) for unit in (*model.blocks, _around(model)))
    held: list[int] = []
    fully_shard = sharding.fully_shard

    def watched(module: nn.Module, **arguments: Any) -> Any:
        held.append(held_bytes(model.parameters()))
        return fully_shard(module, **arguments)

    with patch.object(sharding, "fully_shard", watched):
        strategy.setup(model, None)
    shards = held_bytes(model.parameters())
    is_same = len({float(whole(one.detach()).sum()) for one in model.parameters() if one.dim() > 1}) > 1
    strategy.teardown()
    return max(held), shards, largest, is_same


def _around(model: Blocks) -> nn.Module:
    return nn.ModuleList([model.first, model.last])


def weights_built_from_meta() -> list[float]:
    """Return a sum of each weight after a model on meta was sharded; ranks draw other random numbers."""
    strategy = connected()
    torch.manual_seed(strategy.global_rank)
    with strategy.init_context():
        model = Blocks()
    strategy.setup(model, None)
    sums = [float(whole(one.detach()).sum()) for one in model.parameters()]
    strategy.teardown()
    return sums


def pretrained_on_meta() -> tuple[str, list[str], bool]:
    """Return what's said of weights loaded into a module on meta, and whether they're there after the way out."""
    strategy, pretrained = connected(), seeded(Blocks).state_dict()
    said, notes = "", []
    try:
        with strategy.init_context():
            Blocks().load_state_dict(pretrained)
    except UserWarning as lost:
        said, notes = str(lost), lost.__notes__
    with strategy.init_context():
        model = Blocks()
        model.load_state_dict(pretrained, assign=True)
    strategy.setup(model, None)
    found = {name: whole(value) for name, value in model.state_dict().items()}
    strategy.teardown()
    return said, notes, all(torch.equal(found[name], value) for name, value in pretrained.items())


def failures() -> dict[str, str]:
    """Return what's said of models that can't be sharded."""
    said: dict[str, str] = {}
    strategy = connected()
    with strategy.init_context():
        on_meta = nn.Sequential(nn.Linear(4, 4), Unfillable())
    manual = OwnScale()
    manual.automatic_optimization = False  # type: ignore[assignment]  # as a LightningModule has it
    for name, model in {"tied": Tied(), "on meta": on_meta, "manual": manual}.items():
        try:
            strategy.setup(model, lambda model=model: [torch.optim.SGD(model.parameters())])
        except Exception as error:
            said[name] = f"{type(error).__name__}: {error}"
    foreign = torch.optim.SGD([nn.Parameter(torch.ones(3))])
    try:
        strategy.setup(nn.Linear(2, 2), lambda: [foreign])
    except RuntimeError as error:
        said["foreign"] = str(error)
    strategy.teardown()
    return said


def steps_of_a_module_with_own_parameters() -> tuple[list[float], list[float]]:
    """Return gradients of a step that calls its module twice, sharded and plain."""
    strategy, found = connected(), []
    rows = torch.arange(8.0).view(4, 2)
    for is_sharded in (True, False):
        model = seeded(OwnScale)
        if is_sharded:
            strategy.setup(model, lambda model=model: [torch.optim.SGD(model.parameters())])
            assert isinstance(model, FSDPModule)
        step = strategy.bind_step(model, "training_step") if is_sharded else model.training_step
        step(rows, 0).backward()
        gradients = [whole(one.grad) for one in model.parameters()]
        found.append([number for gradient in gradients for number in gradient.flatten().tolist()])
    strategy.teardown()
    return found[0], found[1]


def ignored_stays_whole() -> tuple[bool, bool]:
    """Return whether an ignored parameter and another one are sharded."""
    model = Blocks()
    strategy = connected(ignored_states=[model.first.weight])
    strategy.setup(model, None)
    found = isinstance(model.first.weight, DTensor), isinstance(model.first.bias, DTensor)
    strategy.teardown()
    return found


def train_ignored() -> str:
    """Return what's said to who trains a parameter that's ignored."""
    model = Blocks()
    strategy = connected(ignored_states=[model.first.weight])
    try:
        strategy.setup(model, lambda: [torch.optim.SGD(model.parameters())])
    except MisconfigurationException as refusal:
        return str(refusal)
    finally:
        strategy.teardown()
    return ""


def names_of_recomputed_layers() -> tuple[list[str], list[str], float, float]:
    """Return the names of the state with recomputed layers and without, and the gradients' norms."""
    found: list[Any] = []
    for policy in ({Block}, None):
        strategy = connected(activation_checkpointing_policy=policy, auto_wrap_policy={Block})
        model = seeded(Blocks)
        strategy.setup(model, lambda model=model: [torch.optim.SGD(model.parameters())])
        model(torch.ones(2, 16)).square().mean().backward()
        found.append((list(model.state_dict()), float(strategy.clip_gradients(model.parameters(), max_norm=1e9) or 0)))
        strategy.teardown()
    (recomputed, one), (kept, other) = found
    return recomputed, kept, one, other


# --- loops of one's own ---


def train_with_fabric(folder: str, order: str, state_dict_type: str) -> tuple[list[float], list[float]]:
    """Train three steps, save, go on for two; then load into a new model and go on: both losses of the last two."""
    strategy = FSDPStrategy(auto_wrap_policy={Block}, state_dict_type=state_dict_type)  # type: ignore[arg-type]
    fabric = Fabric(accelerator="cpu", devices=int(os.environ["WORLD_SIZE"]), strategy=strategy)
    return fabric.launch(_loop, folder, order)


def _loop(fabric: Fabric, folder: str, order: str) -> tuple[list[float], list[float]]:
    path = f"{folder}/{order}.ckpt"
    state = _new_state(fabric, order, seed=1)
    losses = [_step(fabric, state) for _ in range(3)]
    fabric.save(path, state)
    losses += [_step(fabric, state) for _ in range(2)]
    again = _new_state(fabric, order, seed=2)
    fabric.load(path, again)
    return losses[3:], [_step(fabric, again) for _ in range(2)]


def _new_state(fabric: Fabric, order: str, *, seed: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    if order == "from meta":
        with fabric.init_module(empty_init=seed == 2):
            model = Blocks()
    else:
        model = Blocks()
    if order == "together":
        model, optimizer = fabric.setup(model, torch.optim.AdamW(model.parameters(), lr=0.01))
    elif order == "optimizer first":
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        model = fabric.setup_module(model)
        optimizer = fabric.setup_optimizers(optimizer)
    else:
        model = fabric.setup_module(model)
        optimizer = fabric.setup_optimizers(torch.optim.AdamW(model.parameters(), lr=0.01))
    return {"model": model, "optimizer": optimizer, "steps": seed}


def _step(fabric: Fabric, state: dict[str, Any]) -> float:
    rows = torch.linspace(-1, 1, 32).view(2, 16) + fabric.global_rank
    loss = (state["model"](rows) - 1).square().mean()
    fabric.backward(loss)
    fabric.clip_gradients(state["model"], state["optimizer"], max_norm=1.0)
    state["optimizer"].step()
    state["optimizer"].zero_grad()
    return loss.item()
