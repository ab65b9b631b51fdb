"""The port at which processes meet that can't talk to each other yet: each derives it from what all know."""

import os
from typing import Final

from lt_strategies.environments.variables import number

DEFAULT_PORT: Final = 12910
"""The port where nothing is known to derive one from."""

_FIRST: Final = 10000
_JOBS: Final = 1024
_PARTS: Final = 16


def chosen_port() -> int | None:
    """Return the port that ``MASTER_PORT`` names, if it's set."""
    return None if "MASTER_PORT" not in os.environ else number("MASTER_PORT")


def derived_port(job: int, part: int) -> int:
    """Return a port from 10000 to 26383, below those that systems give to outgoing connections.

    It differs between any 1024 consecutive jobs, and between any 16 consecutive parts of one, so that what runs at once
    on a node doesn't meet.

    Args:
        job: the scheduler's number of the job.
        part: the number of the array's element in it.

    >>> derived_port(4711, 0), derived_port(4711, 1), derived_port(4712, 0)
    (19840, 19841, 19856)
    """
    return _FIRST + job % _JOBS * _PARTS + part % _PARTS
