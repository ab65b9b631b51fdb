"""The number of samples in a batch."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass

import torch

from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.rank_zero import WarningCache

_said = WarningCache()


def extract_batch_size(batch: object) -> int:
    """Returns the number of samples in `batch`: the leading dimension of its tensors.

    Looks into mappings, lists, tuples and dataclasses, however nested. Where leading dimensions differ, the one that
    most tensors have counts (the first one found if it's a draw), with one warning per process. Tensors without
    dimensions are ignored unless there are no others: then the size is 1.

    Raises:
        MisconfigurationException: there's no tensor in `batch`.

    Example:
        >>> extract_batch_size({"image": torch.zeros(8, 3, 4), "label": torch.zeros(8)})
        8
    """
    if isinstance(batch, torch.Tensor):
        shape = batch.shape
        return shape[0] if shape else 1
    size = _agreed_size(batch)
    return _most_common_size(batch) if size is None else size


def _agreed_size(batch: object) -> int | None:
    # The fast path, taken on every step that logs: a flat batch whose tensors agree, found without recursion.
    if not isinstance(batch, dict | list | tuple):
        return None
    size: int | None = None
    for value in batch.values() if isinstance(batch, dict) else batch:
        # Asking a tensor for its shape is what costs here, so it's asked once.
        shape = value.shape if isinstance(value, torch.Tensor) else ()
        if not shape or (size is not None and shape[0] != size):
            return None
        size = shape[0]
    return size


def _most_common_size(batch: object) -> int:
    tensors = list(_tensors(batch))
    if not tensors:
        message = (
            f"The batch size can't be found: the batch, a {type(batch).__name__}, holds no tensor. "
            f"Pass `batch_size` where you log: `self.log(..., batch_size=batch_size)`."
        )
        raise MisconfigurationException(message)
    sizes = Counter(tensor.shape[0] for tensor in tensors if tensor.ndim)
    if not sizes:
        return 1
    (size, _), *others = sizes.most_common()
    if others and not _said:
        _said.warn(
            f"The tensors of a batch have different leading dimensions {sorted(sizes)}; {size} is taken as its size. "
            f"If that's wrong, pass `batch_size` where you log: `self.log(..., batch_size=batch_size)`.",
        )
    return size


def _tensors(value: object) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _tensors(getattr(value, field.name, None))
