"""Processes that LSF's jsrun has started."""

import os
import socket
from pathlib import Path
from typing import ClassVar, Final

from lt_strategies.environments.ports import chosen_port, derived_port
from lt_strategies.environments.started_elsewhere import StartedOnce
from lt_strategies.environments.variables import number

_NEEDED: Final = ("LSB_JOBID", "LSB_DJOB_RANKFILE", "JSM_NAMESPACE_LOCAL_RANK", "JSM_NAMESPACE_SIZE")


class LSFEnvironment(StartedOnce):
    """Processes started by ``jsrun`` in a job of IBM's LSF, one for each device.

    The file that ``LSB_DJOB_RANKFILE`` names lists the hosts. On the first the script runs, on the second rank 0.
    ``MASTER_ADDR`` and ``MASTER_PORT`` win where they're set.
    """

    detection_priority: ClassVar[int] = 20

    @classmethod
    def detect(cls) -> bool:
        return all(variable in os.environ for variable in _NEEDED)

    @property
    def main_address(self) -> str:
        return os.environ.get("MASTER_ADDR") or _hosts()[0]

    @property
    def main_port(self) -> int:
        chosen = chosen_port()
        if chosen is not None:
            return chosen
        # Elements of an array share the job's number.
        return derived_port(number("LSB_JOBID"), int(os.environ.get("LSB_JOBINDEX", "0")))

    def world_size(self) -> int:
        return number("JSM_NAMESPACE_SIZE")

    def global_rank(self) -> int:
        return number("JSM_NAMESPACE_RANK")

    def local_rank(self) -> int:
        return number("JSM_NAMESPACE_LOCAL_RANK")

    def node_rank(self) -> int:
        hosts, own = [_short(host) for host in _hosts()], _short(socket.gethostname())
        if own not in hosts:
            message = f"This host, {own}, isn't among those in the file that LSB_DJOB_RANKFILE names: {hosts}."
            raise RuntimeError(message)
        return hosts.index(own)

    @property
    def count_option(self) -> str:
        return "jsrun's number of tasks"


def _hosts() -> list[str]:
    """Return the hosts that processes run on, each once, in order of the file."""
    path = Path(os.environ["LSB_DJOB_RANKFILE"])
    lines = path.read_text().split()
    if not lines:
        message = f"The file that LSB_DJOB_RANKFILE names, {path}, lists no hosts."
        raise RuntimeError(message)
    return list(dict.fromkeys(lines[1:] or lines))


def _short(host: str) -> str:
    return host.split(".")[0]
