"""Lists of images, sounds and videos, each item with its own options."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def made_media(make: Callable[..., Any], items: Any, *, name: str, options: Mapping[str, Sequence[Any]]) -> list[Any]:
    """Make one object for each item, from the item and its own share of every option.

    Args:
        make: makes an object of an item and keyword arguments.
        items: a list; nothing else is taken for one.
        name: what users call the items, for errors.
        options: for each keyword argument a list with one value per item.

    Raises:
        TypeError: ``items`` isn't a list.
        ValueError: an option doesn't have one value per item.

    >>> made_media("{}: {caption}".format, ["a.png"], name="images", options={"caption": ["a cat"]})
    ['a.png: a cat']
    """
    if not isinstance(items, list):
        message = f"`{name}` must be a list of {name}, got {type(items).__name__}. Put a single one into a list."
        raise TypeError(message)
    for option, values in options.items():
        if isinstance(values, str) or len(values) != len(items):
            got = "a string" if isinstance(values, str) else f"{len(values)}"
            message = f"`{option}` must be a list with one value for each of the {len(items)} {name}, got {got}."
            raise ValueError(message)
    return [make(item, **{option: values[i] for option, values in options.items()}) for i, item in enumerate(items)]
