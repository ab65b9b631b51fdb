"""The command that runs this program again."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class Rerun:
    """How a process of the same program is started."""

    command: list[str]
    folder: str | None = None
    """The working folder; ``None``: the current one."""


def rerun_of_program(local_rank: int) -> Rerun:
    """Return how the program is run again for a local rank: with the same interpreter, script and arguments.

    Raises:
        RuntimeError: there's no script, as in an interactive shell or with ``python -c``.
    """
    command = [*_interpreter(), *_program(sys.modules["__main__"]), *sys.argv[1:]]
    hydra = sys.modules.get("hydra.core.hydra_config")
    if hydra is not None and hydra.HydraConfig.initialized():
        return _under_hydra(command, hydra.HydraConfig.get(), local_rank)
    return Rerun(command)


def _interpreter() -> list[str]:
    # Not public, but what multiprocessing starts processes with: -W, -X, -O and the like.
    return [sys.executable, *subprocess._args_from_interpreter_flags()]  # type: ignore[attr-defined]


def _program(main: ModuleType) -> list[str]:
    spec = getattr(main, "__spec__", None)
    if spec is not None:  # started with -m
        return ["-m", spec.name.removesuffix(".__main__")]
    script = Path(sys.argv[0] if sys.argv else "")
    if not script.is_file() and getattr(main, "__file__", None):
        script = Path(str(main.__file__))  # the working folder has changed since
    if script.is_file():
        return [os.path.abspath(script)]
    message = (
        f"`strategy='ddp'` runs the script again for every further process, but there's none (`sys.argv[0]` is "
        f"{sys.argv[0] if sys.argv else ''!r}). In notebooks and interactive shells use `strategy='ddp_notebook'`, "
        "or put the program into a file."
    )
    raise RuntimeError(message)


def _under_hydra(command: list[str], config: Any, local_rank: int) -> Rerun:
    """Let the other process write into the same run's folder, under another job's name."""
    overrides = [
        f"hydra.run.dir={os.getcwd()!r}",
        f"hydra.job.name=train_ddp_process_{local_rank}",
        "hydra.output_subdir=null",
    ]
    return Rerun([*command, *overrides], folder=str(config.runtime.cwd))
