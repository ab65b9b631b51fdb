"""What is wrong, or looks wrong, with a loader before its first batch is read."""

from collections.abc import Iterable

from lt_fabric.data.lengths import has_iterable_dataset, sized_len
from lt_fabric.data.samplers import is_shuffled
from lt_fabric.data.shares import ordered_share
from lt_fabric.data.workers import suggested_num_workers
from lt_interfaces.errors import PossibleUserWarning
from lt_interfaces.rank_zero import rank_zero_warn


def require_iterable(loader: object, source: str) -> None:
    """Raises TypeError where `loader` can't be iterated; `source` is where it came from, for the message.

    Example:
        >>> require_iterable([1, 2], "`train_dataloader`")
        >>> require_iterable(None, "`train_dataloader`")
        Traceback (most recent call last):
        TypeError: `train_dataloader` gave None (NoneType); a DataLoader or another iterable of batches is needed.
    """
    # Not `iter(loader)`: that would start the workers of a DataLoader.
    if isinstance(loader, Iterable) or hasattr(type(loader), "__getitem__"):
        return
    message = (
        f"{source} gave {loader!r} ({type(loader).__name__}); a DataLoader or another iterable of batches is needed."
    )
    raise TypeError(message)


def warn_if_shuffled(loader: object, stage: str) -> None:
    """Warns where a loader for evaluation draws its samples in random order."""
    if is_shuffled(loader):
        rank_zero_warn(
            f"The `{stage}_dataloader` is shuffled. Evaluation doesn't need it, and results are harder to compare: "
            f"consider `shuffle=False`.",
            category=PossibleUserWarning,
        )


def warn_if_few_workers(loader: object, stage: str, *, local_world_size: int = 1) -> None:
    """Warns where a `DataLoader` has fewer than two workers though the machine has CPUs to spare for them."""
    num_workers = getattr(loader, "num_workers", None)
    suggested = suggested_num_workers(local_world_size)
    if isinstance(num_workers, int) and num_workers < 2 <= suggested:
        rank_zero_warn(
            f"The `{stage}_dataloader` has `num_workers={num_workers}`, which may be what training waits for. "
            f"Up to `num_workers={suggested}` fit on this machine.",
            category=PossibleUserWarning,
        )


def warn_if_length_is_guessed(loader: object, stage: str) -> None:
    """Warns where an iterable dataset claims a length: with several workers or ranks it's often wrong.

    Not where ranks and workers share out one stream: the length of a share is known.
    """
    if has_iterable_dataset(loader) and sized_len(loader) is not None and ordered_share(loader) is None:
        rank_zero_warn(
            f"The IterableDataset of the `{stage}_dataloader` has `__len__`. With several workers or ranks make "
            f"sure that each draws its own share and the length fits; otherwise samples are repeated or left out."
        )
