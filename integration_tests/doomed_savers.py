"""A server that forks processes which save checkpoints until they're killed: torch is imported once for all of them.

It reads an order per line, as JSON, and answers with what the process said and the signal that ended it. The process
makes some saves in peace and is armed then, so that it dies in one of three ways:

- ``bytes N``: a file that grows beyond N bytes. The kernel ends the process (SIGXFSZ) after exactly N bytes of a save.
- ``call N``: SIGKILL before the N-th call that forces something to disk or renames it.
- ``seconds S``: SIGKILL from outside, S seconds after it was armed.
"""

import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lt_callbacks import ModelCheckpoint
from lt_core import LightningModule, Trainer
from lt_interfaces.callback import Callback

PEACEFUL_SAVES: Final = 1
MOST_SAVES: Final = 400
"""A process that is still alive after so many saves wasn't armed well."""
NUMBERS: Final = 100_000


def state_of(number: int) -> dict[str, Any]:
    """Return what save number so-and-so writes, about a megabyte."""
    names = ["weight", "momentum"]
    return {"number": number, **{name: torch.arange(NUMBERS, dtype=torch.float32) * number for name in names}}


class Falling(LightningModule):
    """After step N, every weight is -N."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(NUMBERS))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.weight.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


# --- inside the process ---


class Doom:
    """Tells of every committed save, and arms the process after the peaceful ones."""

    def __init__(self, way: str, amount: float, say: Callable[[str], None]) -> None:
        self._way, self._amount, self._say = way, amount, say
        self._count = 0

    def committed(self, number: int) -> None:
        self._say(str(number))
        self._count += 1
        if self._count == PEACEFUL_SAVES:
            self._arm()

    def _arm(self) -> None:
        if self._way == "bytes":
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(self._amount), resource.RLIM_INFINITY))
        elif self._way == "call":
            self._calls = 0
            os.fsync, os.replace = self._deadly(os.fsync), self._deadly(os.replace)  # type: ignore[assignment]
        else:
            self._say("armed")

    def _deadly(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            self._calls += 1
            if self._calls == self._amount:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args)

        return call


class Telling(Callback):
    """Tells at the start of a batch that the saves after the one before it have returned."""

    def __init__(self, doom: Doom) -> None:
        self._doom = doom
        self._first: int | None = None

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self._first is not None and trainer.global_step > self._first:
            self._doom.committed(trainer.global_step)
        self._first = trainer.global_step if self._first is None else self._first


def save_with(checkpoint_io: str, folder: Path, first: int, doom: Doom) -> None:
    """Save the same file again and again, and one more under a name of its own; keep four of those."""
    module, name = checkpoint_io.split(":")
    chosen = getattr(import_module(module), name)()
    unsure = chosen.traits.asynchronous
    for number in range(first, first + MOST_SAVES):
        chosen.save_checkpoint(state_of(number), folder / f"number={number}.ckpt")
        chosen.save_checkpoint(state_of(number), folder / "last.ckpt")
        chosen.remove_checkpoint(folder / f"number={number - 4}.ckpt")
        if number - unsure >= first:
            doom.committed(number - unsure)


def save_in_a_fit(folder: Path, doom: Doom) -> None:
    """Train on from the last checkpoint, and save after every step."""
    keep = ModelCheckpoint(folder, save_last=True, every_n_train_steps=1)
    trainer = Trainer(
        accelerator="cpu",
        callbacks=[keep, Telling(doom)],
        default_root_dir=folder,
        enable_model_summary=False,
        enable_progress_bar=False,
        logger=False,
        max_epochs=MOST_SAVES,
    )
    trainer.fit(Falling(), DataLoader(torch.zeros(8, 1)), ckpt_path="last")  # type: ignore[arg-type]


# --- the server ---


def obey(order: dict[str, Any], say: Callable[[str], None]) -> None:
    """Save until killed."""
    doom, folder = Doom(order["way"], order["amount"], say), Path(order["folder"])
    if order["checkpoint_io"] is None:
        save_in_a_fit(folder, doom)
    else:
        save_with(order["checkpoint_io"], folder, order["first"], doom)


def run(order: dict[str, Any]) -> dict[str, Any]:
    """Fork a process that obeys, and return its last words."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reading)
        try:
            obey(order, lambda words: os.write(writing, f"{words}\n".encode()) and None)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as words:
        said = list(listen(words, process, order["amount"]))
    return {"said": said, "signal": os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])}


def listen(words: Iterator[str], process: int, seconds: float) -> Iterator[int]:
    """Yield the numbers that a process says; kill it some time after it says that it's armed."""
    for word in words:
        if word.strip() == "armed":
            time.sleep(seconds)
            os.kill(process, signal.SIGKILL)
        else:
            yield int(word)


if __name__ == "__main__":
    torch.set_num_threads(1)
    Falling().configure_optimizers()  # the first optimizer imports a good part of torch, which is done here for all
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)  # noqa: T201 (the answer)
