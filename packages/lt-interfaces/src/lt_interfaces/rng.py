"""Seeding, and capturing and restoring the state of every random number generator of a process.

States hold tensors and plain values only, so that a checkpoint that contains one loads with ``weights_only=True``.
"""

import hashlib
import operator
import os
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection

from lt_interfaces.rank_zero import global_rank, rank_zero_info

_LARGEST_SEED = 2**32 - 1  # numpy takes no larger one
_shared_draws: list[random.Random] = []  # what seeds of a job are drawn with; empty before its ranks have met


def seed_everything(seed: int | None = None, workers: bool = True, verbose: bool = True) -> int:
    """Seed python, numpy (where installed) and torch with all its devices, and return the seed.

    Without a seed the environment variable ``PL_GLOBAL_SEED`` decides; without that one is drawn at random and said
    aloud. The seed is left in ``PL_GLOBAL_SEED``, where processes launched later find it. Ranks draw the same one once
    they have met (`share_draws`); before that, processes that were started from outside (torchrun, srun) each draw
    their own, so give these a seed.

    Args:
        seed: a whole number from 0 to 2**32 - 1.
        workers: whether loaders' worker processes get streams of their own for python, numpy and torch
            (`seed_worker`); left in ``PL_SEED_WORKERS``.
        verbose: whether rank 0 says which seed is used.

    Raises:
        ValueError: the seed is out of bounds, or ``PL_GLOBAL_SEED`` is no number.

    >>> seed_everything(42, verbose=False)
    42
    """
    chosen, origin = _choose_seed(seed)
    if not 0 <= chosen <= _LARGEST_SEED:
        message = f"`seed` must be a whole number from 0 to {_LARGEST_SEED}, but {origin} is {chosen}"
        raise ValueError(message)
    if verbose:
        rank_zero_info(f"Seed set to {chosen} ({origin})")
    os.environ["PL_GLOBAL_SEED"] = str(chosen)
    os.environ["PL_SEED_WORKERS"] = str(int(workers))
    random.seed(chosen)
    torch.manual_seed(chosen)
    if find_spec("numpy") is not None:
        _numpy_random().seed(chosen)
    return chosen


def share_draws(seed: int) -> None:
    """Let `seed_everything` without a seed draw the same ones in all processes that call this with one number."""
    _shared_draws[:] = [random.Random(seed)]


def reset_seed() -> None:
    """Seed again with what `seed_everything` left in the environment; without that, do nothing.

    Strategies call it at the start of every process they launch.
    """
    if "PL_GLOBAL_SEED" in os.environ:
        seed_everything(workers=os.environ.get("PL_SEED_WORKERS") == "1", verbose=False)


def capture_rng_state() -> dict[str, Any]:
    """Take the state of python's, torch's and its devices' generators, and of numpy's if numpy was imported.

    CUDA devices are included once CUDA was initialised; before that there is nothing to know.
    """
    return note_rng_state()()


def note_rng_state() -> Callable[[], dict[str, Any]]:
    """Take the state of every generator as it is; the function returned makes of it what `capture_rng_state` returns.

    For what is noted at every step and rarely saved: making tensors of the state costs more than taking it.

    >>> noted, before = note_rng_state(), torch.get_rng_state()
    >>> _ = torch.rand(3)
    >>> torch.equal(noted()["torch"], before)
    True
    """
    python = random.getstate()
    state: dict[str, Any] = {"torch": torch.get_rng_state()}
    if "numpy" in sys.modules:
        import numpy as np  # deferred: present only where the user has it

        state["numpy"] = np.random.get_state(legacy=False)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        state["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return partial(_as_tensors, python, state)


def restore_rng_state(state: dict[str, Any]) -> None:
    """Put back what `capture_rng_state` took, on this machine or another.

    Generators that this process doesn't have (devices, numpy) are left out; those that ``state`` doesn't mention keep
    their state.
    """
    python = state["python"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
    torch.set_rng_state(state["torch"].cpu())
    if "numpy" in state and find_spec("numpy") is not None:
        arrays = apply_to_collection(state["numpy"], torch.Tensor, lambda words: words.cpu().numpy())
        _numpy_random().set_state(arrays)
    for index, device_state in enumerate(state.get("cuda", [])[: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(device_state.cpu(), index)
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"].cpu())


def rng_state_of_rank(states: Sequence[dict[str, Any]], rank: int) -> dict[str, Any]:
    """Return a rank's own state among those that the ranks of a job saved.

    For a rank that has none, as there were fewer, one is made that repeats for the same rank and states and draws other
    numbers than any of them.

    >>> states = [capture_rng_state()]
    >>> rng_state_of_rank(states, 0) is states[0]
    True
    >>> torch.equal(rng_state_of_rank(states, 1)["torch"], states[0]["torch"])
    False
    """
    if rank < len(states):
        return states[rank]
    words = hashlib.sha256(states[0]["torch"].cpu().numpy().tobytes()).hexdigest()
    with isolate_rng():
        _seed_stream(f"{words}/{rank}")
        return capture_rng_state()


@contextmanager
def isolate_rng(include_cuda: bool = True) -> Iterator[None]:
    """Leave every generator as it was, whatever happens inside, exceptions included.

    >>> before = torch.get_rng_state()
    >>> with isolate_rng():
    ...     _ = torch.rand(3)
    >>> torch.equal(before, torch.get_rng_state())
    True
    """
    state = capture_rng_state()
    if not include_cuda:
        state.pop("cuda", None)
    try:
        yield
    finally:
        restore_rng_state(state)


def seed_worker(worker_id: int, rank: int | None = None) -> None:
    """Give a loader's worker process its own random streams; a ``worker_init_fn`` for `torch.utils.data.DataLoader`.

    Streams of python, numpy and torch differ from each other, between workers and between ranks, and repeat when the
    loader's base seed repeats.

    Args:
        worker_id: the worker's number within its loader.
        rank: the global rank of the process that owns the loader; by default the one `global_rank` knows.
    """
    rank = global_rank() if rank is None else rank
    base_seed = torch.initial_seed() - worker_id  # DataLoader has seeded torch with base + worker_id
    _seed_stream(f"{base_seed}/{worker_id}/{rank}")


def _seed_stream(stream: str) -> None:
    random.seed(_derive(stream, "python"))
    torch.manual_seed(_derive(stream, "torch"))
    if find_spec("numpy") is not None:
        numpy_seed = _derive(stream, "numpy")
        _numpy_random().seed([numpy_seed >> 32, numpy_seed & _LARGEST_SEED])


def _as_tensors(python: tuple[Any, ...], state: dict[str, Any]) -> dict[str, Any]:
    version, words, gauss = python
    tensors = {"python": {"version": version, "words": torch.tensor(words, dtype=torch.int64), "gauss": gauss}, **state}
    if "numpy" in state:
        import numpy as np  # deferred: present only where the user has it

        tensors["numpy"] = apply_to_collection(state["numpy"], np.ndarray, torch.from_numpy)
    return tensors


def _choose_seed(seed: int | None) -> tuple[int, str]:
    if seed is not None:
        return operator.index(seed), "the given seed"
    from_environment = os.environ.get("PL_GLOBAL_SEED")
    if from_environment is None:
        return _draw_seed(), "drawn at random"
    try:
        return int(from_environment), "from PL_GLOBAL_SEED"
    except ValueError as error:
        message = f"The environment variable `PL_GLOBAL_SEED` must be a whole number, not {from_environment!r}"
        raise ValueError(message) from error


def _draw_seed() -> int:
    return _shared_draws[0].getrandbits(32) if _shared_draws else int.from_bytes(os.urandom(4), "little")


def _derive(stream: str, consumer: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{stream}/{consumer}".encode()).digest()[:8], "little")


def _numpy_random() -> Any:  # numpy's module, which type checkers may not find
    import numpy as np  # deferred: numpy is optional

    return np.random
