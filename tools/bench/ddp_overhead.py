"""What a training step of two processes costs beyond a loop by hand, with torch's DistributedDataParallel and FSDP2.

Both train the same models on the same kind of DataLoader in the same two processes (gloo, one thread each), in turns of
short rounds; the medians count. A clock that the model ticks starts after some warm-up steps, so that set-up and epoch
ends don't count. Collectives are counted by the process group itself, those that Python asks for apart.

    python tools/bench/ddp_overhead.py                                   # a Markdown table
    python tools/bench/ddp_overhead.py --rounds 21 --write docs/benchmarks.md
    python tools/bench/ddp_overhead.py --profile "lt, bare"              # where rank 0's time goes
"""

import argparse
import cProfile
import logging
import os
import platform
import pstats
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from types import FrameType
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

import lt_core
from lt_fsdp import FSDPStrategy
from lt_interfaces.testing.ranks import run_in_processes
from lt_strategies import DDPStrategy

WARM_UP: Final = 150
"""Steps that aren't measured: Python makes code cheaper that has run often, and DDP settles its buckets."""
WORLD_SIZE: Final = 2
BEGIN: Final = "<!-- ddp-overhead: begin -->"
END: Final = "<!-- ddp-overhead: end -->"
AIM: Final = "1.05"


class Clock:
    """Calls `start` when the warm-up is over and `stop` after the measured steps; the model ticks it in every step."""

    def __init__(self, steps: int, start: Callable[[], None], stop: Callable[[], None]) -> None:
        self.total = WARM_UP + steps + 1
        self._ticks = 0
        self._at = {WARM_UP: start, WARM_UP + steps: stop}

    def tick(self) -> None:
        """Count a step."""
        action = self._at.get(self._ticks)
        self._ticks += 1
        if action is not None:
            action()


# --- the models ---


@dataclass(frozen=True)
class Size:
    """A model and its batches."""

    make: Callable[[], nn.Module]
    width: int
    batch_size: int

    def batches(self, clock: Clock) -> DataLoader[Tensor]:
        """Return as many batches on each rank as the clock waits for; samples are shared out by nobody."""
        rows = torch.randn(self.batch_size, self.width)
        return DataLoader([rows] * clock.total, batch_size=None)  # type: ignore[arg-type]  # a list serves as a dataset


def small() -> nn.Module:
    """Return a model so small that nearly all time is the loop's and the collectives'."""
    return nn.Linear(32, 2)


def larger() -> nn.Module:
    """Return a model with some work to do, and buffers that rank 0 sends with every step."""
    return nn.Sequential(nn.Linear(256, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 256), nn.Linear(256, 10))


SIZES: Final = {"small": Size(small, 32, 1), "larger": Size(larger, 256, 32)}


def loss_of(model: nn.Module, batch: Tensor) -> Tensor:
    """Return a loss of a batch."""
    loss: Tensor = model(batch).square().mean()
    return loss


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer of every variant."""
    return torch.optim.SGD(model.parameters(), lr=0.001)


# --- the variants ---


class Ticking(nn.Module):
    """Computes the loss within the wrapped forward, as the Trainer's training step does."""

    def __init__(self, model: nn.Module, clock: Clock) -> None:
        super().__init__()
        self.model = model
        self._clock = clock

    def forward(self, batch: Tensor) -> Tensor:
        """Tick, and return the loss."""
        self._clock.tick()
        return loss_of(self.model, batch)


def hand_written(size: Size, clock: Clock) -> None:
    """Train with a loop as one writes it by hand, in the process group that is there."""
    wrapped = DistributedDataParallel(Ticking(size.make(), clock))
    optimizer = optimizer_of(wrapped)
    for batch in size.batches(clock):
        optimizer.zero_grad()
        loss = wrapped(batch)
        loss.backward()
        optimizer.step()


class Module(lt_core.LightningModule):
    """The same for the Trainer."""

    def __init__(self, size: Size, clock: Clock, *, logs: bool) -> None:
        super().__init__()
        self.model = size.make()
        self._clock = clock
        self._logs = logs

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Tick, and return the loss."""
        self._clock.tick()
        loss = loss_of(self.model, batch)
        if self._logs:
            self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer of every variant."""
        return optimizer_of(self)


def with_trainer(
    size: Size, clock: Clock, *, logs: bool = False, log_every: int | None = None, strategy: Any = None
) -> None:
    """Train with the Trainer."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = lt_core.Trainer(
            accelerator="cpu",
            devices=WORLD_SIZE,
            strategy=strategy or DDPStrategy(),
            log_every_n_steps=log_every,
            max_epochs=1,
            default_root_dir=folder,
            use_distributed_sampler=False,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Module(size, clock, logs=logs), size.batches(clock))


def hand_written_fsdp(size: Size, clock: Clock) -> None:
    """Shard the linear layers and what's around them, and train with a loop as one writes it by hand."""
    model = size.make()
    for layer in model.children():
        if isinstance(layer, nn.Linear):
            fully_shard(layer)
    fully_shard(model)
    optimizer = optimizer_of(model)
    for batch in size.batches(clock):
        optimizer.zero_grad()
        clock.tick()
        loss = loss_of(model, batch)
        loss.backward()
        optimizer.step()


def sharded(size: Size, clock: Clock) -> None:
    """Train with the Trainer, which shards the same layers."""
    with_trainer(size, clock, strategy=FSDPStrategy())


def without_flushes(size: Size, clock: Clock) -> None:
    """Train with the Trainer, whose ranks never compare what they have logged."""
    with_trainer(size, clock, log_every=0)


def with_log(size: Size, clock: Clock) -> None:
    """Train with the Trainer and log each loss."""
    with_trainer(size, clock, logs=True)


BASELINE: Final = "hand-written DDP"
SHARDED_BASELINE: Final = "hand-written FSDP2"
SHARDED: Final = "lt, FSDPStrategy"
AIMED_AT: Final = ("lt, bare", SHARDED)
VARIANTS: Final[dict[str, Callable[[Size, Clock], None]]] = {
    BASELINE: hand_written,
    "lt, bare": with_trainer,
    "lt, bare, `log_every_n_steps=0`": without_flushes,
    "lt, with `log`": with_log,
    SHARDED_BASELINE: hand_written_fsdp,
    SHARDED: sharded,
}


def baseline_of(variant: str) -> str:
    """Return the loop that a variant is compared with."""
    return SHARDED_BASELINE if variant in (SHARDED, SHARDED_BASELINE) else BASELINE


# --- measuring, in every process ---


@dataclass
class Cost:
    """What the steps of a variant cost a rank."""

    cpu: list[float] = field(default_factory=list)
    """Microseconds of CPU time per step, round by round."""
    wall: list[float] = field(default_factory=list)
    """Microseconds per step, round by round."""
    calls: float = 0.0
    """Python functions called in a step."""
    asked: float = 0.0
    """Collectives per step that Python asks for: those of the framework."""
    collectives: float = 0.0
    """All collectives per step."""


def time_round(train: Callable[[Size, Clock], None], size: Size, *, steps: int, cost: Cost) -> None:
    """Add a round to the times of a cost."""
    marks: list[tuple[int, int]] = []

    def mark() -> None:
        marks.append((time.process_time_ns(), time.perf_counter_ns()))

    dist.barrier()
    train(size, Clock(steps, mark, mark))
    (cpu, wall), (cpu_end, wall_end) = marks
    cost.cpu.append((cpu_end - cpu) / steps / 1000)
    cost.wall.append((wall_end - wall) / steps / 1000)


def count(train: Callable[[Size, Clock], None], size: Size, *, steps: int = 100) -> Cost:
    """Return the counts of a variant, which don't depend on the machine."""
    calls = asked = 0
    numbers: list[int] = []

    def hear(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls, asked
        calls += event == "call"
        asked += event == "call" and frame.f_code in _COLLECTIVES

    def start() -> None:
        numbers.append(dist.group.WORLD._get_sequence_number_for_group())
        sys.setprofile(hear)

    def stop() -> None:
        sys.setprofile(None)
        numbers.append(dist.group.WORLD._get_sequence_number_for_group())

    train(size, Clock(steps, start, stop))
    return Cost(calls=calls / steps, asked=asked / steps, collectives=(numbers[1] - numbers[0]) / steps)


_NAMES: Final = ("all_reduce", "all_gather", "broadcast", "barrier", "all_gather_into_tensor", "reduce")
_COLLECTIVES: Final = {getattr(getattr(dist, name), "__wrapped__", getattr(dist, name)).__code__ for name in _NAMES}


def measure(sizes: list[str], rounds: int, steps: int) -> dict[tuple[str, str], Cost]:
    """Let the variants take turns on this rank; returns the costs by size and variant."""
    with prepared():
        costs = {(size, name): count(VARIANTS[name], SIZES[size]) for size in sizes for name in VARIANTS}
        names = list(VARIANTS)
        # Another one begins each round, so that none always runs on a cold or a throttled machine.
        turns = [name for turn in range(rounds) for name in (names * 2)[turn % len(names) :][: len(names)]]
        for name, size in product(turns, sizes):
            time_round(VARIANTS[name], SIZES[size], steps=steps, cost=costs[size, name])
    return costs


@contextmanager
def prepared() -> Iterator[None]:
    """Be quiet, and let the Trainer make the process group that all variants use."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with_trainer(SIZES["small"], Clock(1, _nothing, _nothing))
    yield
    dist.barrier()


def _nothing() -> None:
    """Stand for a clock's action."""


def profile(name: str, size: str, steps: int) -> str:
    """Return where the time of a variant's steps goes on this rank."""
    profiler = cProfile.Profile()
    with prepared():
        VARIANTS[name](SIZES[size], Clock(steps, profiler.enable, profiler.disable))
    with tempfile.TemporaryFile("w+") as file:
        stats = pstats.Stats(profiler, stream=file).strip_dirs()
        stats.sort_stats("tottime").print_stats(35)
        file.seek(0)
        return file.read()


# --- reporting ---


def table(ranks: list[dict[tuple[str, str], Cost]]) -> str:
    """Return the costs as a Markdown table, each compared with the hand-written loop of the same size."""
    heads = ["model", "variant", "CPU µs per step", "ratio", "µs per step", "ratio", "aim (ratio)", "more Python calls"]
    heads += ["collectives of the engine", "of the Trainer"]
    lines = [heads, ["---", "---"] + ["---:"] * (len(heads) - 2)]
    for size, name in ranks[0]:
        base = [rank[size, baseline_of(name)] for rank in ranks]
        own = [rank[size, name] for rank in ranks]
        cells = [size, name]
        for kind in ("cpu", "wall"):
            cells += [f"{_median(own, kind):.0f}", _ratio(own, base, kind)]
        cells += [AIM if name in AIMED_AT else ""]
        cells += [f"{own[0].calls - base[0].calls:+.0f}"]
        cells += [f"{own[0].collectives - own[0].asked:.2f}", f"{own[0].asked:.2f}"]
        lines.append(cells)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _ratio(own: list[Cost], base: list[Cost], kind: str) -> str:
    """Return the median ratio of rounds that followed each other, over all ranks, and its quartiles."""
    pairs = [zip(getattr(one, kind), getattr(other, kind), strict=True) for one, other in zip(own, base, strict=True)]
    ratios = [numerator / denominator for rank in pairs for numerator, denominator in rank]
    if len(set(ratios)) == 1:
        return f"{ratios[0]:.2f}"
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def _median(costs: list[Cost], kind: str) -> float:
    """Return the median over rounds, averaged over ranks."""
    return statistics.mean(statistics.median(getattr(cost, kind)) for cost in costs)


def setting(rounds: int, steps: int, jobs: int) -> str:
    """Return in a sentence what the numbers hold for."""
    return (
        f"Medians of {jobs} jobs with {rounds} rounds of {steps} steps each, on {WORLD_SIZE} ranks, with quartiles of"
        f" the ratios; Python {platform.python_version()}, torch {torch.__version__}, gloo; {platform.machine()},"
        f" {os.cpu_count()} cores."
    )


def write(page: Path, text: str) -> None:
    """Put the text between the markers of a page."""
    before, rest = page.read_text().split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--jobs", type=int, default=5, help="how many times processes are started anew")
    parser.add_argument("--rounds", type=int, default=4, help="of each job")
    parser.add_argument("--steps", type=int, default=300, help="measured steps per round")
    parser.add_argument("--size", choices=SIZES, action="append", help="only this model")
    parser.add_argument("--profile", metavar="VARIANT", help="print a profile of one variant on rank 0 and stop")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table between the markers of this page")
    arguments = parser.parse_args()
    sizes, limit = arguments.size or list(SIZES), 1800.0
    if arguments.profile:
        print(run_in_processes(profile, arguments.profile, sizes[0], arguments.steps, timeout_seconds=limit)[0])
        return
    # One job may be laid out in memory and over cores more luckily than another, for all its rounds.
    jobs = range(arguments.jobs)
    measured = (
        run_in_processes(measure, sizes, arguments.rounds, arguments.steps, timeout_seconds=limit) for _ in jobs
    )
    ranks = [rank for job in measured for rank in job]
    text = f"{table(ranks)}\n\n{setting(arguments.rounds, arguments.steps, arguments.jobs)}"
    print(text)
    if arguments.write:
        write(arguments.write, text)


if __name__ == "__main__":
    main()
