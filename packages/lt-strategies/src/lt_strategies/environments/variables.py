"""Reading the variables by which processes are told who they are."""

import os


def number(variable: str) -> int:
    """Return the whole number in a variable.

    Raises:
        RuntimeError: it isn't set, or holds something else.
    """
    value = os.environ.get(variable)
    if value is not None and value.isdecimal():
        return int(value)
    found = "it isn't set" if value is None else f"it's {value!r}"
    message = f"The variable {variable} should hold a number, set by whoever started this process, but {found}."
    raise RuntimeError(message)
