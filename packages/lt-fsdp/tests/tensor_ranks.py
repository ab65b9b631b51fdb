"""What ranks do that compute layers together, in a module that their processes import by name."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final

import torch
import torch.distributed as dist
import torch.nn.functional as F
from small_transformer import Block, Transformer, letters, optimizer_of
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    PrepareModuleOutput,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)

from lt_checkpoint_io import DistributedCheckpointIO
from lt_fabric.cpu import CPUAccelerator
from lt_fabric.full_precision import FullPrecision
from lt_fabric.local_environment import LocalEnvironment
from lt_fsdp import ModelParallelStrategy, ParallelPlan
from lt_interfaces import Assembly, Strategy
from lt_interfaces.checkpoint_io import Place, Placement, placed_in
from lt_interfaces.testing.models import whole

NUM_STEPS: Final = 20


def connected(num_ranks: int = 2, **arguments: Any) -> ModelParallelStrategy:
    """Return a strategy on the CPU, ready to set up modules."""
    strategy = ModelParallelStrategy(**arguments)
    devices = [torch.device("cpu")] * num_ranks
    strategy.connect(Assembly(CPUAccelerator(), devices, 1, LocalEnvironment(), FullPrecision()))
    strategy.setup_environment()
    return strategy


def replicas() -> ModelParallelStrategy:
    """Return the strategy of two ranks that train whole layers on different samples."""
    return connected(data_parallel_size=2, save_distributed_checkpoint=False)


def divided(module: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Divide the wide layers of a transformer, and leave its norms, its embedding and its places."""
    styles: dict[str, Any] = {"head": ColwiseParallel(output_layouts=Replicate())}
    for block in ("blocks.0", "blocks.1"):
        styles |= {f"{block}.attention.{name}": ColwiseParallel() for name in ("query", "key", "value")}
        styles |= {f"{block}.up": ColwiseParallel()}
        styles |= {f"{block}.{name}": RowwiseParallel() for name in ("attention.out", "down")}
    return parallelize_module(module, mesh["tensor_parallel"], styles)


def divided_and_sharded_in_part(module: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Divide wide layers, and shard one of the blocks over the ranks that have other samples."""
    divided(module, mesh)
    fully_shard(module.get_submodule("blocks.0"), mesh=mesh["data_parallel"])
    return module


@dataclass
class Outcome:
    """What came out of training."""

    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)


def trained_alone(*, clip: float | None = None, steps: int = NUM_STEPS) -> Outcome:
    """Return what one process gets with plain torch."""
    module, outcome = Transformer(), Outcome()
    optimizer = optimizer_of(module)
    for number in range(steps):
        optimizer.zero_grad()
        loss = module.training_step(letters(number))
        torch.autograd.backward(loss)
        norm = nn.utils.clip_grad_norm_(module.parameters(), clip or float("inf"))
        optimizer.step()
        outcome.losses.append(loss.item())
        outcome.norms.append(norm.item())
    outcome.weights = dict(module.state_dict())
    return outcome


class Training:
    """A transformer that a strategy trains."""

    def __init__(self, strategy: Strategy, *, seed: int | None = None, module: nn.Module | None = None) -> None:
        # Ranks start with weights of their own, unless they're told otherwise: all train those of rank 0.
        self.module = module or Transformer(seed=strategy.global_rank if seed is None else seed)
        self.strategy = strategy
        self.wrapped, (self.optimizer,) = strategy.setup(self.module, lambda: [optimizer_of(self.module)])
        self.step = strategy.bind_step(self.wrapped, "training_step")

    def loss(self, number: int, *, accumulation: int = 1, clip: float | None = None) -> tuple[float, float]:
        """Take an optimizer step and return the loss of all samples and the norm."""
        strategy, losses = self.strategy, []
        norms: list[Any] = []
        shares = strategy.distributed_sampler_kwargs or {"num_replicas": 1, "rank": 0}
        window = strategy.open_window(accumulation)

        def closure() -> None:
            self.optimizer.zero_grad()
            for micro in range(accumulation):
                window.begin(is_last=micro == accumulation - 1)
                batch = letters(
                    number,
                    of=micro * shares["num_replicas"] + shares["rank"],
                    shares=accumulation * shares["num_replicas"],
                )
                loss = self.step(batch, 0)
                losses.append(loss.detach())
                strategy.backward(window.add(loss), Tensor.backward)
            window.close()

        def prepare(optimizer: Any) -> None:
            norms.append(strategy.clip_gradients(self.module.parameters(), max_norm=clip or float("inf")))

        strategy.optimizer_step(self.optimizer, closure, prepare)
        return strategy.reduce(torch.stack(losses).mean()).item(), norms[0].item()

    def losses(self, start: int, steps: int) -> list[float]:
        """Take steps and return their losses."""
        return [self.loss(number)[0] for number in range(start, start + steps)]

    def weights(self) -> dict[str, Tensor]:
        """Return whole weights."""
        return {name: whole(value.detach()).clone() for name, value in self.module.state_dict().items()}


def trained(strategy: Strategy, *, accumulation: int = 1, clip: float | None = None, steps: int = NUM_STEPS) -> Outcome:
    """Return what the ranks of a strategy get together."""
    training, outcome = Training(strategy), Outcome()
    for number in range(steps):
        loss, norm = training.loss(number, accumulation=accumulation, clip=clip)
        outcome.losses.append(loss)
        outcome.norms.append(norm)
    outcome.weights = training.weights()
    return outcome


Divide = Callable[[nn.Module, DeviceMesh], nn.Module]


def parity(data: int, tensor: int) -> dict[str, Outcome]:
    """Train in several ways, in one job, as starting its processes is what takes time."""
    found = {}
    ways: dict[str, tuple[Divide, dict[str, Any]]] = {
        "divided": (divided, {}),
        "divided, accumulation 2, clipped": (divided, {"accumulation": 2, "clip": 0.3}),
    }
    if data > 1:
        ways["sharded in part by its owner, clipped"] = divided_and_sharded_in_part, {"clip": 0.3}
    for name, (divide, how) in ways.items():
        strategy = connected(data * tensor, parallelize_fn=divide, data_parallel_size=data, tensor_parallel_size=tensor)
        found[name] = trained(strategy, **how)
        strategy.teardown()
    return found


def planned(**axes: Any) -> ParallelPlan:
    """Return a plan that divides a transformer as `divided` does."""
    styles: dict[str, Any] = {
        "blocks.*.attention.[qkv]*": "colwise",
        "blocks.*.attention.out": "rowwise",
        "blocks.*.up": "colwise",
        "blocks.*.down": "rowwise",
        "head": ColwiseParallel(output_layouts=Replicate()),
    }
    return ParallelPlan(tensor_styles=styles, **axes)


def parity_of_plans(world_size: int) -> dict[str, Outcome]:
    """Train by several plans."""
    found = {}
    plans = {"tensor 2": planned(tensor=2, activation_checkpointing_policy={Block})}
    if world_size == 4:
        plans = {
            "shard 2, tensor 2": planned(tensor=2, auto_wrap_policy={Block}, reshard_after_forward=True),
            "replicate 2, tensor 2": planned(replicate=2, tensor=2),
        }
    for name, plan in plans.items():
        strategy = connected(world_size, plan=plan)
        found[name] = trained(strategy, accumulation=2, clip=0.3)
        strategy.teardown()
    return found


def loss_with_tied_layers(is_alone: bool) -> tuple[list[float], bool]:
    """Return losses of a transformer whose head is its embedding, and whether it still is."""
    module = Transformer()
    module.head.weight = module.embedding.weight
    if is_alone:
        losses, optimizer = [], optimizer_of(module)
        for number in range(4):
            optimizer.zero_grad()
            loss = module.training_step(letters(number))
            torch.autograd.backward(loss)
            optimizer.step()
            losses.append(loss.item())
    else:
        styles: dict[str, Any] = {"embedding": "rowwise", "head": ColwiseParallel(output_layouts=Replicate())}
        strategy = connected(plan=ParallelPlan(tensor=2, tensor_styles=styles))
        losses = Training(strategy, module=module).losses(0, 4)
    return losses, module.head.weight is module.embedding.weight


def refused_plans() -> list[str]:
    """Return what is said of styles that don't fit a module."""
    found = []
    for styles in (
        {"block.*.up": "colwise"},
        {"blocks.*.up": "colwise", "blocks.0.*": "rowwise"},
        {"blocks.*.wide_norm": "colwise"},
        {"embedding": "colwise", "head": "colwise"},
    ):
        module = Transformer()
        module.head.weight = module.embedding.weight
        strategy = connected(plan=ParallelPlan(tensor=2, tensor_styles=styles))
        try:
            strategy.setup(module, None)
        except Exception as error:  # whatever it is, what it says is looked at
            found.append("\n".join([str(error), *getattr(error, "__notes__", ())]))
    return found


def whole_replicas_agree(data: int, tensor: int) -> bool:
    """Say whether what isn't divided is the same to the bit on ranks that compute layers together."""
    strategy = connected(data * tensor, parallelize_fn=divided, data_parallel_size=data, tensor_parallel_size=tensor)
    training = Training(strategy)
    training.losses(0, 5)
    own = [one for name, one in training.module.named_parameters() if "norm" in name or "embedding" in name]
    flat = torch.cat([(one.to_local() if isinstance(one, DTensor) else one).detach().flatten() for one in own])
    group = strategy.device_mesh["tensor_parallel"].get_group()
    others = [torch.empty_like(flat) for _ in range(tensor)]
    dist.all_gather(others, flat, group=group)
    return all(torch.equal(one, flat) for one in others)


class Sequences(nn.Module):
    """Its norm sees a part of each sequence."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.up, self.down = nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 12), nn.Linear(12, 8)

    def forward(self, rows: Tensor) -> Tensor:
        """Return rows of the same shape."""
        changed: Tensor = self.down(F.relu(self.up(self.norm(self.first(rows)))))
        return changed

    def training_step(self, number: Tensor, batch_idx: int = 0) -> Tensor:
        """Return the loss of made-up rows."""
        rows = torch.randn(4, 6, 8, generator=torch.Generator().manual_seed(int(number)))
        loss: Tensor = self(rows).square().mean()
        return loss


def divided_along_sequences(module: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Divide layers, and what lies between them along the sequence."""
    styles = {
        "first": PrepareModuleOutput(output_layouts=Replicate(), desired_output_layouts=Shard(1)),
        "norm": SequenceParallel(),
        "up": ColwiseParallel(input_layouts=Shard(1)),
        "down": RowwiseParallel(output_layouts=Replicate()),
    }
    return parallelize_module(module, mesh["tensor_parallel"], styles)


def gradients_of_sequences(clip_value: float) -> tuple[float, float]:
    """Return how far clipped gradients of layers divided along the sequence are from those of one process."""
    strategy = connected(parallelize_fn=divided_along_sequences)
    found, alone = [], []
    module = Sequences()
    strategy.setup(module, lambda: [optimizer_of(module)])
    strategy.backward(module.training_step(torch.tensor(3)), Tensor.backward)
    norm = strategy.clip_gradients(module.parameters(), max_norm=float("inf"))
    strategy.clip_gradients(module.parameters(), clip_value=clip_value)
    found = [whole(one.grad) for one in module.parameters() if one.grad is not None]
    plain = Sequences()
    torch.autograd.backward(plain.training_step(torch.tensor(3)))
    expected = nn.utils.get_total_norm([one.grad for one in plain.parameters() if one.grad is not None])
    nn.utils.clip_grad_value_(plain.parameters(), clip_value)
    alone = [one.grad for one in plain.parameters() if one.grad is not None]
    assert norm is not None
    furthest = max((one - other).abs().max().item() for one, other in zip(found, alone, strict=True))
    return furthest, abs(norm.item() / expected.item() - 1)


def states(data: int, tensor: int, folder: str) -> dict[str, Any]:
    """Train and save in both forms; go on, and let fresh modules go on from what was saved."""
    found: dict[str, Any] = {}
    for is_distributed in (False, True):
        strategy = connected(
            data * tensor,
            parallelize_fn=divided,
            data_parallel_size=data,
            tensor_parallel_size=tensor,
            save_distributed_checkpoint=is_distributed,
        )
        training = Training(strategy)
        training.losses(0, 3)
        weights = deepcopy(strategy.module_state(training.wrapped))
        optimizer = deepcopy(strategy.optimizer_state(training.wrapped, training.optimizer))
        going_on = training.losses(3, 4)
        fresh = Training(strategy, seed=7)
        if is_distributed:
            io, path = DistributedCheckpointIO(), f"{folder}/{data}x{tensor}.ckpt"
            io.save_checkpoint({"state_dict": weights, "optimizer_states": [optimizer]}, path)
            placement = strategy.placement(fresh.wrapped), strategy.placement(fresh.optimizer)
            parts: dict[Place, Placement | None] = {("state_dict",): placement[0]}
            parts[("optimizer_states", 0)] = placement[1]
            loaded = io.load_placed(path, placed_in(parts))
            weights, optimizer = loaded["state_dict"], loaded["optimizer_states"][0]
        else:
            found["whole"] = deepcopy((weights, optimizer))  # what is loaded is stepped further
            weights, optimizer = strategy.broadcast((weights, optimizer))
        strategy.load_module_state(fresh.wrapped, weights)
        strategy.load_optimizer_state(fresh.wrapped, fresh.optimizer, optimizer)
        found["sharded" if is_distributed else "full"] = going_on, fresh.losses(3, 4)
        strategy.teardown()
    return found


def made_on_meta(data: int, tensor: int, shards: bool) -> dict[str, Tensor]:
    """Return the first weights of a module that was divided on the meta device, and in part sharded there or not."""
    strategy = connected(
        data * tensor,
        parallelize_fn=divided_and_sharded_in_part if shards else divided,
        data_parallel_size=data,
        tensor_parallel_size=tensor,
    )
    torch.manual_seed(5 if strategy.global_rank == 0 else 99)
    with torch.device("meta"):
        module = Transformer()
    training = Training(strategy, module=module)
    weights = training.weights()
    training.losses(0, 1)
    return weights
