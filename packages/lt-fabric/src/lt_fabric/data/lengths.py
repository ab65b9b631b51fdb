"""How many batches a loader gives, with and without a limit."""

from collections.abc import Sized
from math import inf, isinf

from torch.utils.data import IterableDataset

from lt_interfaces.errors import MisconfigurationException


def sized_len(loader: object) -> int | None:
    """Returns the number of batches of `loader`, or None where it can't tell.

    A loader whose `__len__` raises TypeError or NotImplementedError (a `DataLoader` over an iterable
    dataset without length does) counts as unsized; any other exception passes through.
    """
    if not isinstance(loader, Sized):
        return None
    try:
        return len(loader)
    except (TypeError, NotImplementedError):
        return None


def has_iterable_dataset(loader: object) -> bool:
    """Tells whether `loader` reads an `IterableDataset`: no sampler, and a length that is a guess at best."""
    return isinstance(getattr(loader, "dataset", None), IterableDataset)


def num_batches(loader: object, limit: int | float | None = None, *, stage: str) -> int | float:
    """Returns how many batches of one loader are used under `limit`; `math.inf` if nobody knows.

    An int limit is a number of batches (`math.inf` stands for all of them), a float a fraction of the loader
    in [0, 1], rounded down. `stage` ("train", "val", "test" or "predict") names the argument in errors.

    Raises:
        MisconfigurationException: a fraction of a loader without length, or one that leaves no batch at all.

    Example:
        >>> num_batches(range(10), 3, stage="train"), num_batches(range(10), 0.25, stage="val")
        (3, 2)
    """
    length = sized_len(loader)
    if limit is None or (isinstance(limit, float) and limit == 1.0):
        return inf if length is None else length
    if isinstance(limit, int) or isinf(limit):
        return limit if length is None else min(length, limit)
    return _fraction(length, limit, argument=f"limit_{stage}_batches")


def _fraction(length: int | None, fraction: float, *, argument: str) -> int:
    if fraction == 0.0:
        return 0
    if length is None:
        message = (
            f"`{argument}={fraction}` is a fraction, but the loader has no length to take it of. "
            f"Pass a number of batches (an int), 0.0 for none, or 1.0 for all."
        )
        raise MisconfigurationException(message)
    count = int(length * fraction)
    if count == 0 and length > 0:
        message = (
            f"`{argument}={fraction}` of a loader with {length} batches is less than one batch. "
            f"Pass at least {1 / length:.4g}, or a number of batches (an int)."
        )
        raise MisconfigurationException(message)
    return count
