"""What ranks of DeepSpeed's engines do, in a module that their processes import by name."""

from copy import deepcopy
from typing import Any

import torch
from language_model import LanguageModel, adamw, rows
from torch import Tensor, nn

from lt_deepspeed import DeepSpeedStrategy
from lt_fabric.cpu import CPUAccelerator
from lt_fabric.full_precision import FullPrecision
from lt_fabric.local_environment import LocalEnvironment
from lt_interfaces import Assembly, Precision, PrecisionDtypes


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
    strategy: DeepSpeedStrategy,
    wrapped: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    steps: int,
    start: int = 0,
    micro: int = 1,
    clip: float | None = None,
) -> list[tuple[float, float]]:
    """Return the mean loss over ranks and the norm of each step."""
    run = strategy.bind_step(wrapped, "training_step")
    found = []
    for step in range(start, start + steps):
        parts = rows(step).chunk(strategy.world_size * micro)
        losses: list[Tensor] = []

        def closure() -> Tensor:
            window = strategy.open_window(micro)
            for number in range(micro):
                window.begin(is_last=number == micro - 1)
                loss = run(parts[strategy.global_rank * micro + number], 0)
                if number == 0:
                    for parameter in (one for group in optimizer.param_groups for one in group["params"]):
                        parameter.grad = None
                losses.append(loss.detach())
                strategy.backward(window.add(loss), Tensor.backward)
            window.close()
            return loss

        norms: list[Any] = []

        def clip_first(stepped: torch.optim.Optimizer) -> None:
            parameters = [one for group in stepped.param_groups for one in group["params"]]
            norms.append(strategy.clip_gradients(parameters, max_norm=clip or 1e9))

        strategy.optimizer_step(optimizer, closure, clip_first)
        mean = strategy.reduce(torch.stack(losses).mean()).item()
        found.append((mean, norms[0].item()))
    return found


def parity(cases: list[dict[str, Any]], steps: int) -> list[list[tuple[float, float]]]:
    found = []
    for case in cases:
        case = dict(case)
        micro, clip = case.pop("micro", 1), case.pop("clip", None)
        strategy = connected(**case)
        wrapped, optimizer = set_up(strategy)
        found.append(train(strategy, wrapped, optimizer, steps=steps, micro=micro, clip=clip))
        strategy.barrier()
        strategy.teardown()
    return found


def resuming(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what went on, what was resumed, and the states between, for each case."""
    found = []
    for case in cases:
        case = dict(case)
        if case.pop("bf16", False):
            case["precision"] = BF16()
        strategy = connected(**case)
        wrapped, optimizer = set_up(strategy)
        before = train(strategy, wrapped, optimizer, steps=5, clip=0.5)
        state = deepcopy((strategy.module_state(wrapped), strategy.optimizer_state(wrapped, optimizer)))
        on = train(strategy, wrapped, optimizer, steps=5, start=5, clip=0.5)
        end = strategy.module_state(wrapped)
        strategy.barrier()
        strategy.teardown()
        strategy = connected(**case)
        module = LanguageModel(seed=7)
        wrapped, (optimizer,) = strategy.setup(module, lambda: [adamw(module)])
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
