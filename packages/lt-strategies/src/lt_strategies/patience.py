"""Waiting for other ranks for as long as it takes."""

import time
from datetime import timedelta
from typing import Final

from torch._C._distributed_c10d import Store

_LONGEST_PAUSE_SECONDS: Final = 0.5


def wait_for_all(store: Store, name: str, *, world_size: int, timeout: timedelta | None = None) -> None:
    """Return once every rank has called this with the same name and store.

    Nothing but the store is used, so no timeout of a collective applies; Ctrl-C and signals are heard.

    Raises:
        TimeoutError: not all came in time; by default there's all the time.
    """
    deadline = time.monotonic() + (timeout.total_seconds() if timeout is not None else float("inf"))
    if store.add(f"arrived/{name}", 1) == world_size:
        store.set(f"all here/{name}", "")
    pause = 0.01
    while not store.check([f"all here/{name}"]):
        if time.monotonic() > deadline:
            came = store.add(f"arrived/{name}", 0)
            message = (
                f"Only {came} of {world_size} ranks came to {name!r} within {timeout}. Look why the others didn't."
            )
            raise TimeoutError(message)
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
