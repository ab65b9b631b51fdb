"""What happens in a process that was started with a function."""

import multiprocessing
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from lt_strategies.failure.parentage import end_with_parent
from lt_strategies.launchers.hosting import parent_variables
from lt_strategies.launchers.outcome import Failure, Mailbox
from lt_strategies.launchers.torch_settings import TorchSettings

MAILBOX: Final = "LT_LAUNCH_FOLDER"
"""Names the folder for outcomes while processes are started."""

PROCESS_NAME: Final = "rank "
"""What processes are called, with their rank after it."""

_PARENT_GRACE_SECONDS: Final = 3.0


@dataclass(frozen=True)
class Order:
    """What a process is started for."""

    rank: int
    variables: dict[str, str]
    folder: Path
    settings: TorchSettings
    num_threads: int


def run_child(order: Order, call: Callable[[], Any]) -> None:
    """Become a rank of the job, call the function and leave the outcome; a failure ends this process with 1."""
    os.environ.update(order.variables)
    os.environ.update(parent_variables(os.getppid()))
    end_with_parent(_PARENT_GRACE_SECONDS)
    torch.set_num_threads(order.num_threads)
    order.settings.apply()
    mailbox = Mailbox(order.folder)
    try:
        result = call()
        if order.rank == 0:
            mailbox.leave_result(result)
    except BaseException as failure:
        mailbox.leave_failure(Failure.of(failure, order.rank))
        sys.exit(1)


def refuse_while_importing_main() -> None:
    """End a process that is just importing the user's script, and would start processes by that.

    multiprocessing imports the script in each new process; without a guard that comes to the launcher again.
    """
    process = multiprocessing.current_process()
    # multiprocessing's own mark; it would refuse as well, with a text about frozen executables.
    if not getattr(process, "_inheriting", False):
        return
    message = (
        "The script starts processes while a new process imports it, so they'd start processes for ever. Put the part "
        'that runs under `if __name__ == "__main__":` (`strategy="ddp_spawn"` needs it), or use `strategy="ddp"`.'
    )
    failure = RuntimeError(message)
    folder = os.environ.get(MAILBOX)
    if folder is None or not os.path.isdir(folder):
        raise failure
    # The parent raises it; here it would be printed once by each process.
    Mailbox(Path(folder)).leave_failure(Failure.of(failure, int(process.name.removeprefix(PROCESS_NAME))))
    os._exit(1)
