"""What ranks of DeepSpeed's engines do, in a module that their processes import by name."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from language_model import LanguageModel, adamw, rows
from torch import Tensor, nn

from lt_deepspeed import DeepSpeedCheckpointIO, DeepSpeedStrategy, portable
from lt_deepspeed.engines import EngineModule
from lt_deepspeed.installation import deepspeed
from lt_fabric.cpu import CPUAccelerator
from lt_fabric.full_precision import FullPrecision
from lt_fabric.local_environment import LocalEnvironment
from lt_interfaces import Assembly, Precision, PrecisionDtypes
from lt_interfaces.plain_values import to_plain
from lt_interfaces.torch_file import save_torch_file


def connected(num_ranks: int = 2, precision: Precision | None = None, **arguments: Any) -> DeepSpeedStrategy:
    """Return a strategy on the CPU, ready to set up modules."""
    strategy = DeepSpeedStrategy(**arguments)
    devices = [torch.device("cpu")] * num_ranks
    strategy.connect(Assembly(CPUAccelerator(), devices, 1, LocalEnvironment(), precision or FullPrecision()))
    strategy.setup_environment()
    return strategy


def set_up(strategy: DeepSpeedStrategy, module: nn.Module | None = None) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Return a language model and its optimizer, set up."""
    module = module or LanguageModel(seed=strategy.global_rank)
    wrapped, (optimizer,) = strategy.setup(module, lambda: [adamw(module)])
    return wrapped, optimizer


def train(
    strategy: DeepSpeedStrategy, wrapped: nn.Module, optimizer: torch.optim.Optimizer, **how: Any
) -> list[tuple[float, float]]:
    """Return the mean loss over ranks and the norm of each step; see `Training` for what can be said."""
    training = Training(strategy, wrapped, optimizer, micro=how.pop("micro", 1), clip=how.pop("clip", 1e9))
    start = how.pop("start", 0)
    return [training.step(step) for step in range(start, start + how.pop("steps"))]


class Training:
    """Takes steps on whole batches of text, cut into shares of ranks and micro-batches, as loops do.

    Args:
        strategy: whose engine trains.
        wrapped: the module, set up.
        optimizer: its.
        micro: micro-batches per step.
        clip: the largest norm.
    """

    def __init__(
        self,
        strategy: DeepSpeedStrategy,
        wrapped: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        micro: int,
        clip: float,
    ) -> None:
        self._strategy, self._optimizer = strategy, optimizer
        self._run = strategy.bind_step(wrapped, "training_step")
        self._micro, self._clip = micro, clip
        self._parameters = [one for group in optimizer.param_groups for one in group["params"]]
        self._parts: list[Tensor] = []
        self._losses: list[Tensor] = []
        self._norm = torch.tensor(0.0)

    def step(self, number: int) -> tuple[float, float]:
        """Take a step; returns loss and norm."""
        strategy = self._strategy
        shares = rows(number).chunk(strategy.world_size)
        self._parts, self._losses = list(shares[strategy.global_rank].chunk(self._micro)), []
        strategy.optimizer_step(self._optimizer, self._make_gradients, self._clip_them)
        return strategy.reduce(torch.stack(self._losses).mean()).item(), self._norm.item()

    def _make_gradients(self) -> None:
        window = self._strategy.open_window(self._micro)
        for number, part in enumerate(self._parts):
            window.begin(is_last=number == self._micro - 1)
            loss = self._run(part, 0)
            if number == 0:
                for parameter in self._parameters:
                    parameter.grad = None
            self._losses.append(loss.detach())
            self._strategy.backward(window.add(loss), Tensor.backward)
        window.close()

    def _clip_them(self, _: torch.optim.Optimizer) -> None:
        norm = self._strategy.clip_gradients(self._parameters, max_norm=self._clip)
        assert norm is not None
        self._norm = norm


def parity(cases: list[dict[str, Any]], steps: int) -> list[list[tuple[float, float, float]]]:
    """Return loss, norm, and the norm that one process finds with the same weights, for each step of each case."""
    return [_with_norms_alone(case, steps) for case in cases]


def _with_norms_alone(case: dict[str, Any], steps: int) -> list[tuple[float, float, float]]:
    how = {name: case[name] for name in ("micro", "clip") if name in case}
    strategy = connected(**{name: value for name, value in case.items() if name not in how})
    wrapped, optimizer = set_up(strategy)
    found = []
    for step in range(steps):
        alone = LanguageModel()
        alone.load_state_dict(strategy.module_state(wrapped))
        alone.double()  # in fp32 the sum over a batch depends on its order, by more than is asked here
        torch.autograd.backward(alone.training_step(rows(step)))
        norm = nn.utils.get_total_norm([one.grad for one in alone.parameters() if one.grad is not None])
        found.append((*train(strategy, wrapped, optimizer, steps=1, start=step, **how)[0], norm.item()))
    strategy.barrier()
    strategy.teardown()
    return found


def resuming(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what went on, what was resumed, and the states between, for each case."""
    found = []
    for case, is_frozen in map(_arguments, cases):
        strategy = connected(**case)
        module = _module(strategy.global_rank, is_frozen=is_frozen)
        wrapped, optimizer = set_up(strategy, module)
        before = train(strategy, wrapped, optimizer, steps=5, clip=0.5)
        state = deepcopy((strategy.module_state(wrapped), strategy.optimizer_state(wrapped, optimizer)))
        on = train(strategy, wrapped, optimizer, steps=5, start=5, clip=0.5)
        end = strategy.module_state(wrapped)
        strategy.barrier()
        strategy.teardown()
        strategy = connected(**case)
        wrapped, optimizer = set_up(strategy, _module(7, is_frozen=is_frozen))
        for group in optimizer.param_groups:
            group["lr"] = 5.0
        strategy.load_module_state(wrapped, state[0])
        strategy.load_optimizer_state(wrapped, optimizer, state[1])
        again = train(strategy, wrapped, optimizer, steps=5, start=5, clip=0.5)
        end_again = strategy.module_state(wrapped)
        same = all(torch.equal(end[name], end_again[name]) for name in end)
        found.append({"before": before, "on": on, "again": again, "same": same, "state": state})
        strategy.barrier()
        strategy.teardown()
    return found


def _arguments(case: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return a case's arguments of the strategy, and whether a part of the module is frozen."""
    arguments = dict(case)
    is_frozen = arguments.pop("frozen", False)
    if arguments.pop("bf16", False):
        arguments["precision"] = BF16()
    return arguments, is_frozen


def _module(seed: int, *, is_frozen: bool) -> LanguageModel:
    module = LanguageModel(seed)
    module.places.requires_grad_(not is_frozen)
    return module


def going_on(cases: list[dict[str, Any]], state: Any) -> list[list[tuple[float, float]]]:
    """Return the five steps that each case takes from a state."""
    found = []
    for case in cases:
        strategy = connected(**case)
        wrapped, optimizer = set_up(strategy)
        strategy.load_module_state(wrapped, state[0])
        strategy.load_optimizer_state(wrapped, optimizer, state[1])
        found.append(train(strategy, wrapped, optimizer, steps=5, start=5, clip=0.5))
        strategy.barrier()
        strategy.teardown()
    return found


class BF16(FullPrecision):
    """Stands for "bf16-mixed", of which the engine does the work."""

    @property
    def precision(self) -> str:
        return "bf16-mixed"

    def dtypes(self) -> PrecisionDtypes:
        return PrecisionDtypes(compute=torch.bfloat16)


def in_folders(folder: str, cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what went on, what was resumed from the engine's own folder, and the state between, for each case."""
    found = []
    for number, (case, is_frozen) in enumerate(map(_arguments, cases)):
        path, checkpoints = Path(folder, str(number)), DeepSpeedCheckpointIO()
        strategy = connected(state_dict_type="sharded", **case)
        wrapped, optimizer = set_up(strategy, _module(strategy.global_rank, is_frozen=is_frozen))
        before = train(strategy, wrapped, optimizer, steps=5, clip=0.5)
        assert isinstance(wrapped, EngineModule)
        whole = {"weights": portable.module_state(wrapped.module, wrapped), "state": portable.optimizer_state(wrapped)}
        saved = {"state_dict": strategy.module_state(wrapped), "epoch": 1}
        saved["optimizer_states"] = [strategy.optimizer_state(wrapped, optimizer)]
        checkpoints.save_checkpoint(to_plain(saved, "saved"), path)
        strategy.barrier()
        on = train(strategy, wrapped, optimizer, steps=5, start=5, clip=0.5)
        strategy.barrier()
        strategy.teardown()
        strategy = connected(state_dict_type="sharded", **case)
        wrapped, optimizer = set_up(strategy, _module(7, is_frozen=is_frozen))
        for group in optimizer.param_groups:
            group["lr"] = 5.0
        read = checkpoints.load_checkpoint(path)
        strategy.load_module_state(wrapped, read["state_dict"])
        strategy.load_optimizer_state(wrapped, optimizer, read["optimizer_states"][0])
        again = train(strategy, wrapped, optimizer, steps=5, start=5, clip=0.5)
        found.append({"before": before, "on": on, "again": again, **whole, "epoch": read["epoch"]})
        strategy.barrier()
        strategy.teardown()
    return found


def written_by_others(folder: str) -> str:
    """Return what's said when the engine's state is to go into an ordinary file."""
    strategy = connected(state_dict_type="sharded", stage=2)
    wrapped, _ = set_up(strategy)
    state = to_plain({"state_dict": strategy.module_state(wrapped)}, "saved")
    try:
        save_torch_file(state, Path(folder, f"{strategy.global_rank}.ckpt"))
    except TypeError as error:
        return str(error)
    return ""


def other_modules() -> list[str]:
    """Return what's said of a state dict of another module, under stage 2 and 3."""
    told = []
    for stage in (2, 3):
        strategy = connected(stage=stage)
        wrapped, _ = set_up(strategy)
        state = strategy.module_state(wrapped)
        state["head.weight"] = state["head.weight"][:2]
        try:
            strategy.load_module_state(wrapped, state)
        except RuntimeError as error:
            told.append(str(error))
        strategy.barrier()
        strategy.teardown()
    return told


def shares(stages: list[int]) -> list[dict[str, float]]:
    """Return which share of all bytes this rank holds after two steps, of parameters and of the optimizer's state."""
    found = []
    for stage in stages:
        strategy = connected(stage=stage)
        with strategy.init_context():
            module = LanguageModel(seed=strategy.global_rank)
        at_first = _held(module)
        wrapped, optimizer = set_up(strategy, module)
        train(strategy, wrapped, optimizer, steps=2)
        assert isinstance(wrapped, EngineModule)
        state = wrapped.base_optimizer.state.values()
        held = sum(value.numel() for one in state for key, value in one.items() if key != "step")
        whole = sum(value.numel() for value in strategy.module_state(wrapped).values())
        found.append({"init": at_first / whole, "parameters": _held(module) / whole, "state": held / (2 * whole)})
        strategy.barrier()
        strategy.teardown()
    return found


def _held(module: nn.Module) -> int:
    # what's small stays whole (DeepSpeed's persistence threshold), beside its shard
    return sum(one.numel() + (one.ds_tensor.numel() if hasattr(one, "ds_tensor") else 0) for one in module.parameters())


class Recomputing(LanguageModel):
    """Computes the activations of its blocks again in backward, as DeepSpeed does it."""

    def forward(self, text: Tensor) -> Tensor:
        x = self.bytes(text) + self.places(torch.arange(text.shape[1]))
        for block in self.blocks:
            x = deepspeed("").checkpointing.checkpoint(block, x)
        return self.head(x)


def with_parts_of_deepspeed() -> dict[str, list[float]]:
    """Return losses with DeepSpeed's optimizer for the CPU, and with its activation checkpointing."""
    found = {}
    strategy = connected(stage=2, offload_optimizer=True)
    module = LanguageModel()
    kind = deepspeed("ops.adam").DeepSpeedCPUAdam
    wrapped, (optimizer,) = strategy.setup(module, lambda: [kind(adamw(module).param_groups, lr=1e-3, eps=1e-5)])
    found["optimizer"] = [loss for loss, _ in train(strategy, wrapped, optimizer, steps=5)]
    state = strategy.optimizer_state(wrapped, optimizer)
    weights = strategy.module_state(wrapped)
    found["on"] = [loss for loss, _ in train(strategy, wrapped, optimizer, steps=3, start=5)]
    other = LanguageModel(seed=4)
    again, (optimizer,) = strategy.setup(other, lambda: [kind(adamw(other).param_groups, lr=1e-3, eps=1e-5)])
    strategy.load_module_state(again, weights)
    strategy.load_optimizer_state(again, optimizer, state)
    found["again"] = [loss for loss, _ in train(strategy, again, optimizer, steps=3, start=5)]
    strategy.barrier()
    strategy.teardown()
    for stage in (2, 3):
        strategy = connected(stage=stage, synchronize_checkpoint_boundary=True)
        wrapped, optimizer = set_up(strategy, Recomputing(strategy.global_rank))
        found[f"recomputed {stage}"] = [loss for loss, _ in train(strategy, wrapped, optimizer, steps=5)]
        assert deepspeed("").checkpointing.is_configured()
        strategy.barrier()
        strategy.teardown()
    return found


def unfrozen() -> str:
    """Return what's said when a parameter is unfrozen after set-up."""
    strategy = connected(stage=2)
    module = _module(0, is_frozen=True)
    wrapped, (optimizer,) = strategy.setup(module, lambda: [torch.optim.AdamW(module.parameters(), lr=1e-3)])
    train(strategy, wrapped, optimizer, steps=1)
    module.places.requires_grad_(True)
    try:
        train(strategy, wrapped, optimizer, steps=1)
    except ValueError as error:
        return str(error)
    return ""
