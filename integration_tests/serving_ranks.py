"""Ranks that stay, so that a property test can ask them for one case after the other."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

from lt_interfaces.testing.ranks import run_in_processes

Ask = Callable[[Any], list[Any]]


@contextmanager
def serving(answer: Callable[[Any], Any], folder: Path, *, seconds: float) -> Iterator[Ask]:
    """Start two ranks of one job, and give what asks both: a case goes in, the answers of both ranks come out.

    Args:
        answer: called on each rank with a case; at module level of a module that can be imported.
        folder: where both sides meet.
        seconds: all that ranks may take, altogether.
    """
    address = str(folder / "ranks")
    with Listener(address) as listener:
        job = threading.Thread(
            target=run_in_processes, args=(_serve, answer, address), kwargs={"timeout_seconds": seconds}
        )
        job.start()
        ranks = [listener.accept() for _ in range(2)]

        def ask(case: Any) -> list[Any]:
            for rank in ranks:
                rank.send(case)
            return [_received(rank) for rank in ranks]

        try:
            yield ask
        finally:
            for rank in ranks:
                with suppress(BrokenPipeError):  # it has failed, and was heard
                    rank.send(None)
                rank.close()
            job.join()


def _received(rank: Connection) -> Any:
    found = rank.recv()
    if isinstance(found, Exception):
        raise found
    return found


def _serve(answer: Callable[[Any], Any], address: str) -> None:
    with Client(address) as asking:
        while (case := asking.recv()) is not None:
            try:
                asking.send(answer(case))
            except Exception as failure:  # whoever asks shall see it, with the case
                asking.send(failure)
                raise
