"""What a training step costs beyond torch's own work: CPU time, Python calls and instructions, loop by loop.

The model is so small (a linear layer from 32 to 2, SGD, batch size 1, one thread) that nearly all time is the loop's.
Every variant trains the same model on the same kind of DataLoader; a clock that the model itself reads starts after
some warm-up steps and stops after the measured ones, so that set-up and epoch ends don't count.

    python tools/bench/step_overhead.py                          # time and calls, as a Markdown table
    python tools/bench/step_overhead.py --instructions           # also instructions per step (perf or valgrind)
    python tools/bench/step_overhead.py --profile "lt, bare"     # where the time of one variant goes
    python tools/bench/step_overhead.py --write docs/benchmarks.md
"""

import argparse
import cProfile
import logging
import os
import platform
import pstats
import pty
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

WARM_UP: Final = 1000
"""Steps that aren't measured: Python makes code cheaper that has run often."""
BEGIN: Final = "<!-- step-overhead: begin -->"
END: Final = "<!-- step-overhead: end -->"


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


def batches(clock: Clock) -> DataLoader[Tensor]:
    """Return one batch of one sample per tick that the clock waits for."""
    return DataLoader(torch.randn(clock.total, 32))  # type: ignore[arg-type]  # a tensor serves as a dataset


def loss_of(layer: nn.Module, batch: Tensor) -> Tensor:
    """Return a loss of a batch."""
    loss: Tensor = layer(batch).square().mean()
    return loss


def optimizer_of(layer: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer of every variant."""
    return torch.optim.SGD(layer.parameters(), lr=0.001)


# --- the variants ---


def hand_written(clock: Clock) -> None:
    """Train with a loop as one writes it by hand."""
    layer = nn.Linear(32, 2)
    optimizer = optimizer_of(layer)
    for batch in batches(clock):
        clock.tick()
        optimizer.zero_grad()
        loss = loss_of(layer, batch)
        loss.backward()
        optimizer.step()


def with_trainer(package: str, *, logs: bool = False, **arguments: Any) -> Callable[[Clock], None]:
    """Return a variant that trains with the Trainer of a package: ours or Lightning's."""

    def run(clock: Clock) -> None:
        framework = import_module(package)
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        chosen = {name: make() if callable(make) else make for name, make in arguments.items()}
        with tempfile.TemporaryDirectory() as folder:
            trainer = framework.Trainer(
                accelerator="cpu",
                max_epochs=1,
                default_root_dir=folder,
                enable_model_summary=False,
                **(quiet | chosen),
            )
            trainer.fit(module_of(framework, clock, logs), batches(clock))

    return run


def module_of(framework: Any, clock: Clock, logs: bool) -> Any:
    """Return the module, of the framework's base class."""

    class Module(framework.LightningModule):  # type: ignore[misc]  # the class is chosen at run time
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(32, 2)

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            clock.tick()
            loss = loss_of(self.layer, batch)
            if logs:
                self.log("loss", loss, on_step=True, on_epoch=True)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return optimizer_of(self)

    return Module()


def csv_logger(module: str) -> Callable[[], Any]:
    """Return what makes a CSV logger in a folder that is thrown away."""
    return lambda: import_module(module).CSVLogger(tempfile.mkdtemp(prefix="step-overhead-"))


def everything(module: str) -> dict[str, Any]:
    """Return the arguments that switch bar, CSV logger and checkpoints on."""
    return {"logs": True, "logger": csv_logger(module), "enable_checkpointing": True, "enable_progress_bar": True}


def with_ignite(clock: Clock) -> None:
    """Train with an Ignite engine."""
    from ignite.engine import Engine  # measured where it's installed

    layer = nn.Linear(32, 2)
    optimizer = optimizer_of(layer)

    def update(engine: Engine, batch: Tensor) -> Tensor:
        clock.tick()
        optimizer.zero_grad()
        loss = loss_of(layer, batch)
        loss.backward()
        optimizer.step()
        return loss

    Engine(update).run(batches(clock), max_epochs=1)


def with_accelerate(clock: Clock) -> None:
    """Train with Accelerate in a loop written by hand."""
    from accelerate import Accelerator  # measured where it's installed

    accelerator = Accelerator(cpu=True)
    layer = nn.Linear(32, 2)
    layer, optimizer, loader = accelerator.prepare(layer, optimizer_of(layer), batches(clock))
    for batch in loader:
        clock.tick()
        optimizer.zero_grad()
        loss = loss_of(layer, batch)
        accelerator.backward(loss)
        optimizer.step()


@dataclass(frozen=True)
class Variant:
    """One way to train, with what must be installed for it and the ratio to the hand-written loop that we aim at."""

    run: Callable[[Clock], None]
    needs: str = "torch"
    aim: str = ""


BASELINE: Final = "hand-written loop"
VARIANTS: Final = {
    BASELINE: Variant(hand_written),
    "lt, bare": Variant(with_trainer("lt_core"), "lt_core", "1.05, or + 10 µs"),
    "lt, with `log`": Variant(with_trainer("lt_core", logs=True), "lt_core", "1.15"),
    "lt, with `log`, bar, CSV logger, checkpoints": Variant(
        with_trainer("lt_core", **everything("lt_loggers")), "lt_callbacks", "1.25"
    ),
    "Lightning, bare": Variant(with_trainer("lightning.pytorch"), "lightning"),
    "Lightning, with `log`": Variant(with_trainer("lightning.pytorch", logs=True), "lightning"),
    "Lightning, with `log`, bar, CSV logger, checkpoints": Variant(
        with_trainer("lightning.pytorch", **everything("lightning.pytorch.loggers")), "lightning"
    ),
    "Ignite": Variant(with_ignite, "ignite"),
    "Accelerate": Variant(with_accelerate, "accelerate"),
}


# --- measuring ---


def nanoseconds_per_step(variant: Variant, steps: int) -> float:
    """Return the CPU time of a step, of all threads of this process."""
    marks: list[int] = []

    def mark() -> None:
        marks.append(time.process_time_ns())

    variant.run(Clock(steps, mark, mark))
    return (marks[1] - marks[0]) / steps


def calls_per_step(variant: Variant, steps: int) -> float:
    """Return how many Python functions are called in a step."""
    count = 0

    def hear(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call"

    variant.run(Clock(steps, lambda: sys.setprofile(hear), lambda: sys.setprofile(None)))
    return count / steps


def profile(name: str, steps: int) -> None:
    """Print where the time of a variant's steps goes, per 1000 steps."""
    profiler = cProfile.Profile()
    with in_terminal():
        VARIANTS[name].run(Clock(steps, profiler.enable, profiler.disable))
    print(f"{name}: {steps} steps; divide by that number for one step\n")
    stats = pstats.Stats(profiler).strip_dirs()
    stats.sort_stats("tottime").print_stats(35)
    stats.sort_stats("cumulative").print_stats(35)


def instructions_per_step(name: str, steps: int) -> float | None:
    """Return the instructions of a step in a process of its own; ``None`` where nothing can count them."""
    return _with_perf(name, steps) or _with_valgrind(name, steps)


def _with_perf(name: str, steps: int) -> float | None:
    """Count with the processor's own counter, which many virtual machines hide; two lengths, so that set-up cancels."""
    if shutil.which("perf") is None:
        return None
    counts: list[int] = []
    for length in (steps, 3 * steps):
        command = ["perf", "stat", "-x", ",", "-e", "instructions:u", *_child(name, length)]
        found = re.search(r"^(\d+),.*instructions", _errors_of(command), re.MULTILINE)
        if found is None:
            return None
        counts.append(int(found[1]))
    return (counts[1] - counts[0]) / (2 * steps)


def _with_valgrind(name: str, steps: int) -> float | None:
    """Count with valgrind, which is switched on for the measured steps alone: it slows everything down fifty times."""
    if shutil.which("callgrind_control") is None:
        return None
    valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--callgrind-out-file=/dev/null"]
    found = re.search(r"Collected : (\d+)", _errors_of([*valgrind, *_child(name, steps), "--in-valgrind"]))
    return int(found[1]) / steps if found else None


def _errors_of(command: list[str]) -> str:
    """Run a command under which two runs do the same, and return what it says on standard error."""
    still = os.environ | {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=still).stderr


def _child(name: str, steps: int) -> list[str]:
    return [sys.executable, __file__, "--only", name, "--steps", str(steps)]


def switch_valgrind(state: str) -> None:
    """Let the valgrind that runs this process count, or stop counting."""
    command = ["callgrind_control", "-i", state, str(os.getpid())]
    control = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    # Valgrind hears of it only while this process runs now and then: `wait` would wait for ever.
    while control.poll() is None:
        time.sleep(0.01)


def ignore_switch(state: str) -> None:
    """Stand for `switch_valgrind` where something else counts, or nothing."""


@contextmanager
def in_terminal() -> Iterator[None]:
    """Let standard output and error be a terminal that another process reads, so that progress bars really draw."""
    main, terminal = pty.openpty()
    reader = subprocess.Popen([sys.executable, "-c", _READER], stdin=main, stdout=subprocess.DEVNULL)
    sys.stdout.flush()
    kept = {number: os.dup(number) for number in (1, 2)}
    for number in kept:
        os.dup2(terminal, number)
    try:
        yield
    finally:
        for number, copy in kept.items():
            os.dup2(copy, number)
            os.close(copy)
        os.close(terminal)
        os.close(main)
        reader.terminate()
        reader.wait()


_READER: Final = "import os\nwhile os.read(0, 65536): pass"


# --- reporting ---


@dataclass
class Row:
    """What was measured of one variant."""

    name: str
    microseconds: float
    calls: float
    instructions: float | None = None


def measure(names: list[str], rounds: int, steps: int) -> list[Row]:
    """Let the variants take turns, and return the median of each one's rounds."""
    times: dict[str, list[float]] = {name: [] for name in names}
    with in_terminal():
        calls = {name: calls_per_step(VARIANTS[name], 200) for name in names}
        for turn in range(rounds):
            # Another one begins each round, so that none always runs on a cold or a throttled machine.
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                times[name].append(nanoseconds_per_step(VARIANTS[name], steps))
    return [Row(name, statistics.median(times[name]) / 1000, calls[name]) for name in names]


def table(rows: list[Row]) -> str:
    """Return the rows as a Markdown table, each compared with the first."""
    base = rows[0]
    counted = any(row.instructions is not None for row in rows)
    heads = ["variant", "µs per step", "ratio", "more µs", "Python calls", "more calls", "aim (ratio)"]
    lines = [heads + ["instructions", "ratio"] * counted]
    for row in rows:
        ratio, more = row.microseconds / base.microseconds, row.microseconds - base.microseconds
        cells = [row.name, f"{row.microseconds:.1f}", f"{ratio:.2f}", f"{more:+.1f}", f"{row.calls:.0f}"]
        cells += [f"{row.calls - base.calls:+.0f}", VARIANTS[row.name].aim]
        if row.instructions is not None and base.instructions is not None:
            cells += [f"{row.instructions:,.0f}", f"{row.instructions / base.instructions:.2f}"]
        lines.append(cells)
    lines.insert(1, ["---"] + ["---:"] * (len(lines[0]) - 1))
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def setting(rounds: int, steps: int) -> str:
    """Return in a sentence what the numbers hold for."""
    others = [
        f"{name} {version(name)}" for name in ("lightning", "pytorch-ignite", "accelerate") if _is_installed(name)
    ]
    return (
        f"Median of {rounds} rounds of {steps} steps; Python {platform.python_version()}, torch {torch.__version__},"
        f" {', '.join(others) or 'no other framework'}; {platform.machine()}, {os.cpu_count()} cores."
    )


def _is_installed(distribution: str) -> bool:
    return find_spec({"pytorch-ignite": "ignite"}.get(distribution, distribution)) is not None


def write(page: Path, text: str) -> None:
    """Put the text between the markers of a page."""
    before, rest = page.read_text().split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=2000, help="measured steps per round")
    parser.add_argument("--variants", help="only those whose name matches this regular expression, and the baseline")
    parser.add_argument("--instructions", action="store_true", help="also count instructions; slow under valgrind")
    parser.add_argument("--profile", metavar="VARIANT", help="print a profile of one variant and stop")
    parser.add_argument("--only", metavar="VARIANT", help="run one variant without measuring and stop")
    parser.add_argument("--in-valgrind", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table between the markers of this page")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    if arguments.profile:
        profile(arguments.profile, arguments.steps)
        return
    if arguments.only:
        switch = switch_valgrind if arguments.in_valgrind else ignore_switch
        VARIANTS[arguments.only].run(Clock(arguments.steps, lambda: switch("on"), lambda: switch("off")))
        return
    names = [name for name, variant in VARIANTS.items() if find_spec(variant.needs) is not None]
    if arguments.variants:
        names = [name for name in names if name == BASELINE or re.search(arguments.variants, name)]
    rows = measure(names, arguments.rounds, arguments.steps)
    if arguments.instructions:
        for row in rows:
            row.instructions = instructions_per_step(row.name, 1000)
    text = f"{table(rows)}\n\n{setting(arguments.rounds, arguments.steps)}"
    print(text)
    if arguments.write:
        write(arguments.write, text)


if __name__ == "__main__":
    main()
