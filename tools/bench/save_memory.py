"""What saving a checkpoint costs: the peak of resident memory above what training holds, and time, per framework.

A child process trains one step with a model of the wanted size, clears the kernel's mark of peak memory, saves through
``Trainer.save_checkpoint`` and reads the mark. Pages of the file that the kernel caches don't count: they belong to no
process and go when memory is needed.

    python tools/bench/save_memory.py                            # a Markdown table
    python tools/bench/save_memory.py --megabytes 2000
    python tools/bench/save_memory.py --write docs/benchmarks.md
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

BEGIN: Final = "<!-- save-memory: begin -->"
END: Final = "<!-- save-memory: end -->"
MEGABYTE: Final = 1_000_000
OPTIMIZERS: Final = {"SGD": 1, "Adam": 3}
"""How many times the size of the parameters the state is."""


@dataclass(frozen=True)
class Variant:
    """One way to save: whose Trainer, and with which checkpoint IO of it."""

    package: str
    plugin: str | None = None

    def is_installed(self) -> bool:
        """Say whether everything that it needs is there."""
        modules = [self.package] + ([self.plugin.partition(":")[0]] if self.plugin else [])
        return all(find_spec(module.partition(".")[0]) is not None for module in modules)

    def arguments(self) -> dict[str, Any]:
        """Return the Trainer's arguments."""
        if self.plugin is None:
            return {}
        module, name = self.plugin.split(":")
        return {"plugins": [getattr(import_module(module), name)()]}


VARIANTS: Final = {
    "lt, LocalCheckpointIO": Variant("lt_core", "lt_fabric.local_checkpoint:LocalCheckpointIO"),
    "lt, TorchCheckpointIO": Variant("lt_core", "lt_checkpoint_io:TorchCheckpointIO"),
    "Lightning": Variant("lightning.pytorch"),
}


def module_of(framework: Any, parameters: int, optimizer: str) -> Any:
    """Return a module of the framework's base class, whose parameters are eight tensors."""

    class Module(framework.LightningModule):  # type: ignore[misc]  # the class is chosen at run time
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ParameterList([nn.Parameter(torch.ones(parameters // 8)) for _ in range(8)])

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            return torch.stack([part.sum() for part in self.parts]).sum()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            kind: type[torch.optim.Optimizer] = getattr(torch.optim, optimizer)
            return kind(self.parameters(), lr=0.001, foreach=False)  # type: ignore[call-arg]  # both take it

    return Module()


def measure_here(name: str, megabytes: int, optimizer: str) -> dict[str, float]:
    """Save once in this process and return what it took."""
    variant = VARIANTS[name]
    framework = import_module(variant.package)
    parameters = megabytes * MEGABYTE // 4 // OPTIMIZERS[optimizer]
    with tempfile.TemporaryDirectory() as folder:
        trainer = framework.Trainer(
            accelerator="cpu",
            default_root_dir=folder,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            logger=False,
            max_steps=1,
            **variant.arguments(),
        )
        trainer.fit(module_of(framework, parameters, optimizer), DataLoader(torch.zeros(1, 1)))  # type: ignore[arg-type]
        path = Path(folder, "measured.ckpt")
        before = clear_peak()
        start = time.perf_counter()
        trainer.save_checkpoint(path)
        seconds = time.perf_counter() - start
        return {"extra": peak() - before, "seconds": seconds, "size": path.stat().st_size / MEGABYTE}


def clear_peak() -> float:
    """Forget the peak of resident memory so far, and return what is resident now, in MB."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak() -> float:
    """Return the peak of resident memory since it was cleared, in MB."""
    return _status("VmHWM")


def _status(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    kibibytes = next(line.split()[1] for line in lines if line.startswith(f"{key}:"))
    return int(kibibytes) * 1024 / MEGABYTE


def measure(name: str, megabytes: int, optimizer: str) -> dict[str, float]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, "--only", name, "--megabytes", str(megabytes), "--optimizer", optimizer]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    result: dict[str, float] = json.loads(output.splitlines()[-1])
    return result


def table(megabytes: int) -> str:
    """Measure every installed variant with every optimizer, and return a Markdown table."""
    lines = ["| variant | state | file, MB | peak of extra memory, MB | share of the file | seconds |"]
    lines.append("| --- | --- | ---: | ---: | ---: | ---: |")
    for optimizer in OPTIMIZERS:
        for name in [name for name, variant in VARIANTS.items() if variant.is_installed()]:
            found = measure(name, megabytes, optimizer)
            share = 100 * found["extra"] / found["size"]
            cells = [name, f"{optimizer}", f"{found['size']:.0f}", f"{found['extra']:.1f}", f"{share:.1f} %"]
            lines.append("| " + " | ".join([*cells, f"{found['seconds']:.1f}"]) + " |")
    return "\n".join(lines)


def setting() -> str:
    """Return in a sentence what the numbers hold for."""
    other = f"lightning {version('lightning')}" if find_spec("lightning") is not None else "no other framework"
    python = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{python}, {other}; {platform.machine()}, {os.cpu_count()} cores."


def write(page: Path, text: str) -> None:
    """Put the text between the markers of a page."""
    before, rest = page.read_text().split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--megabytes", type=int, default=500, help="size of the state")
    parser.add_argument("--optimizer", choices=list(OPTIMIZERS), default="SGD", help="with --only")
    parser.add_argument("--only", metavar="VARIANT", help="measure one variant in this process")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table between the markers of this page")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.only:
        print(json.dumps(measure_here(arguments.only, arguments.megabytes, arguments.optimizer)))
        return
    text = f"{table(arguments.megabytes)}\n\n{setting()}"
    print(text)
    if arguments.write:
        write(arguments.write, text)


if __name__ == "__main__":
    main()
