"""A loader made from another one."""

from typing import Any

from torch.utils.data import DataLoader


def copy_loader(loader: DataLoader[Any], **replaced: object) -> DataLoader[Any]:
    """Returns a copy of `loader` with other attributes, among them those that torch forbids assigning.

    A subclass may take any arguments, so its `__init__` isn't called again. torch forbids assigning samplers and the
    dataset because open iterators and running workers have the old ones; the copy has neither yet. An attribute that
    a subclass made a property stays what it is: look at it afterwards.

    Example:
        >>> list(copy_loader(DataLoader(range(3)), dataset=range(10, 13)))
        [tensor([10]), tensor([11]), tensor([12])]
    """
    copied: DataLoader[Any] = object.__new__(type(loader))
    vars(copied).update(vars(loader), _iterator=None, **replaced)
    return copied
