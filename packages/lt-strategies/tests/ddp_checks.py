"""What ranks of DDP tests do, in a module that their processes import by name."""

import os
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from ddp_ranks import connected
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook, fp16_compress_wrapper
from torch.distributed.algorithms.ddp_comm_hooks.post_localSGD_hook import PostLocalSGDState, post_localSGD_hook

from lt_core import LightningModule, Trainer
from lt_strategies.ddp import DDPStrategy


class Two(nn.Module):
    """Two layers, of which a step uses one or both."""

    def __init__(self, backward: Callable[[Tensor], None] | None = None) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.first.weight)
        nn.init.ones_(self.second.weight)
        self.automatic_optimization = backward is None
        self.backward = backward

    def training_step(self, row: Tensor, uses: str) -> Tensor:
        loss = torch.stack([getattr(self, name)(row).sum() for name in uses.split()]).sum()
        if self.backward is not None:
            self.backward(loss)
        return loss


def sgd(parameters: Any) -> torch.optim.Optimizer:
    """Return an optimizer."""
    return torch.optim.SGD(parameters, lr=1.0)


def gradients(strategy: DDPStrategy, *, uses: str = "first second", steps: int = 1, by_hand: bool = False) -> Any:
    """Return the gradients of both layers after one backward per step, whose inputs are 1 on rank 0 and 3 on rank 1."""

    def backward(loss: Tensor) -> None:
        strategy.backward(loss, Tensor.backward)

    module = Two(backward if by_hand else None)
    wrapped, made = strategy.setup(module, lambda: [sgd(module.first.parameters()), sgd(module.second.parameters())])
    step = strategy.bind_step(wrapped, "training_step")
    row = torch.tensor([[1.0 + 2 * strategy.global_rank]])
    for _ in range(steps):
        for optimizer in made:
            optimizer.zero_grad()
        loss = step(row, uses)
        if not by_hand:
            backward(loss)
    return [None if one.grad is None else one.grad.item() for one in module.parameters()]


def gradients_with(arguments: dict[str, Any], options: dict[str, Any]) -> Any:
    """Return what `gradients` finds under a strategy with arguments."""
    strategy = connected(**arguments)
    found = gradients(strategy, **options)
    strategy.barrier()
    strategy.teardown()
    return found


def unused_parameter() -> str:
    """Return what's said of a parameter that takes no part in two steps."""
    try:
        gradients(connected(), uses="first", steps=2)
    except RuntimeError as error:
        return "\n".join([str(error), *error.__notes__])
    return ""


def with_hooks() -> Any:
    """Return gradients that travelled in half precision, by hook and by wrapper; 2049 isn't a number of it."""
    found = []
    for hook in (
        {"ddp_comm_hook": fp16_compress_hook},
        {"ddp_comm_hook": _plain, "ddp_comm_wrapper": fp16_compress_wrapper},
    ):
        strategy = connected(**hook)
        module = Two()
        wrapped, _ = strategy.setup(module, lambda m=module: [sgd(m.parameters())])  # type: ignore[misc]
        strategy.backward(
            strategy.bind_step(wrapped, "training_step")(torch.tensor([[2049.0 * 2]]), "first second"), Tensor.backward
        )
        found.append([one.grad.item() for one in module.parameters() if one.grad is not None])
        strategy.barrier()
        strategy.teardown()
    return found


def _plain(state: Any, bucket: dist.GradBucket):  # type: ignore[no-untyped-def]  # noqa: ANN202  # torch checks it

    total = bucket.buffer() / dist.get_world_size()
    return dist.all_reduce(total, async_op=True).get_future().then(lambda done: done.value()[0])


def weights_of_local_sgd() -> list[float]:
    """Return the weight after each of five steps; from the second on gradients stay local, averaged every second."""
    strategy = connected(
        ddp_comm_hook=_late_local_hook, ddp_comm_state=PostLocalSGDState(None, None, 1), model_averaging_period=2
    )  # type: ignore[arg-type]
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    # two groups: a step is one step, whatever its number of groups
    wrapped, (optimizer,) = strategy.setup(
        module,
        lambda: [torch.optim.SGD([{"params": [module.weight]}, {"params": [nn.Parameter(torch.zeros(1))]}], lr=1.0)],
    )
    step = strategy.bind_step(wrapped, "forward")
    found = []
    for _ in range(5):

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss: Tensor = step(torch.tensor([[1.0 + 2 * strategy.global_rank]])).sum()
            strategy.backward(loss, Tensor.backward)
            return loss

        strategy.optimizer_step(optimizer, closure, lambda _: None)
        found.append(module.weight.item())
    strategy.barrier()
    strategy.teardown()
    return found


def _late_local_hook(state: Any, bucket: dist.GradBucket):  # type: ignore[no-untyped-def]  # noqa: ANN202  # torch checks it

    state.subgroup = state.subgroup or dist.new_subgroups(1)[0]
    return post_localSGD_hook(state, bucket)


def zero_state() -> Any:
    """Return the optimizer's state on this rank, and whether going on from that of rank 0 is going on."""
    # Loads torch.jit.script, whose deprecation would end the tests.
    from torch.distributed.optim import ZeroRedundancyOptimizer

    strategy = connected()

    def made(module: nn.Module) -> tuple[nn.Module, torch.optim.Optimizer]:
        wrapped, (optimizer,) = strategy.setup(
            module, lambda: [ZeroRedundancyOptimizer(module.parameters(), torch.optim.SGD, lr=0.1, momentum=0.9)]
        )
        return wrapped, optimizer

    def go(wrapped: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        strategy.backward(strategy.bind_step(wrapped, "forward")(torch.ones(2, 3)).square().mean(), Tensor.backward)
        optimizer.step()

    torch.manual_seed(0)
    wrapped, optimizer = made(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1)))
    go(wrapped, optimizer)
    state, weights = deepcopy((strategy.optimizer_state(wrapped, optimizer), strategy.module_state(wrapped)))
    everywhere = strategy.broadcast((state, weights))
    go(wrapped, optimizer)
    again, other = made(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1)))
    strategy.load_module_state(again, everywhere[1])
    strategy.load_optimizer_state(again, other, everywhere[0])
    go(again, other)
    same = all(torch.equal(a, b) for a, b in zip(wrapped.parameters(), again.parameters(), strict=True))
    strategy.barrier()
    strategy.teardown()
    return len(state.get("state", {})), same


class Net(LightningModule):
    """One weight."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.layer(batch).square().mean()

    def configure_optimizers(self) -> Any:
        return sgd(self.parameters())


def fit(folder: str, **arguments: Any) -> Trainer:
    """Fit for two steps."""
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    options = {"accelerator": "cpu", "devices": 2, "strategy": "ddp", "max_steps": 2, **quiet, **arguments}
    trainer = Trainer(default_root_dir=folder, **options)
    trainer.fit(Net(), torch.utils.data.DataLoader(torch.ones(8, 1), 2))  # type: ignore[arg-type]  # a tensor will do
    return trainer


def two_fits(folder: str) -> tuple[bool, bool]:
    """Return whether a second fit works in the process group of the first, and whether it can be used afterwards."""
    trainer = fit(folder)
    group = dist.group.WORLD
    trainer.strategy.barrier("after a fit")
    trainer = fit(folder)
    trainer.strategy.barrier("after another")
    return dist.group.WORLD is group, trainer.strategy.reduce(torch.ones(())).item() == 1.0


def own_group(folder: str) -> bool:
    """Return whether a group that the program made is used and left alone."""
    dist.init_process_group("gloo", rank=int(os.environ["LOCAL_RANK"]))
    group = dist.group.WORLD
    strategy = fit(folder).strategy
    strategy._job._group.leave()
    kept = dist.is_initialized() and dist.group.WORLD is group
    dist.barrier()
    dist.destroy_process_group()
    return kept


def own_group_of_other_order(folder: str) -> str:
    """Return why a group in which ranks are the other way round is refused."""
    rank = 1 - int(os.environ["LOCAL_RANK"])
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    Path(folder, f"joined{rank}").touch()
    while not Path(folder, f"joined{1 - rank}").exists():
        time.sleep(0.01)  # who is refused ends, and would break what the other one is still building up
    time.sleep(1 - rank)  # whoever comes late finds nobody to meet: the other one was refused
    try:
        connected()
    except RuntimeError as error:
        return str(error)
    return ""


def too_many() -> str:
    """Return why more ranks than devices are refused."""
    try:
        connected(1)
    except Exception as error:
        return str(error)
    return ""
