"""The argument ``devices`` for devices that have indices: counts, lists and strings of both."""

from collections.abc import Sequence

from lt_interfaces import MisconfigurationException


def parse_indices(devices: int | str | list[int], *, available: Sequence[int], kind: str) -> list[int]:
    """Turn the argument ``devices`` into device indices.

    A number ``n`` (or ``"n"``) means the first ``n``, -1 all, a list or a string with commas names indices.

    Args:
        devices: as the user gave it, but not ``"auto"``.
        available: the indices this machine has.
        kind: what to call the devices in messages, e.g. ``"CUDA"``.

    Raises:
        MisconfigurationException: for none, duplicates, or devices this machine doesn't have.
        TypeError: for anything that isn't a number, a string or a list of numbers.

    >>> parse_indices("0,2", available=[0, 1, 2], kind="CUDA")
    [0, 2]
    >>> parse_indices(2, available=[0, 1, 2], kind="CUDA")
    [0, 1]
    """
    wanted = _read(devices)
    if wanted == -1:
        wanted = list(available)
    indices = list(range(wanted)) if isinstance(wanted, int) else wanted
    if not indices:
        _refuse(devices, f"asks for no {kind} device at all", available=available, kind=kind)
    if len(set(indices)) < len(indices):
        _refuse(devices, "names a device twice", available=available, kind=kind)
    missing = [index for index in indices if index not in available]
    if missing:
        _refuse(
            devices,
            f"asks for {kind} devices {indices}, of which this machine lacks {missing}",
            available=available,
            kind=kind,
        )
    return indices


def _read(devices: object) -> int | list[int]:
    """Return a count (-1: all) or a list of indices."""
    if isinstance(devices, str):
        return _read_text(devices)
    if isinstance(devices, int) and not isinstance(devices, bool):
        return devices
    if isinstance(devices, list | tuple) and all(isinstance(i, int) and not isinstance(i, bool) for i in devices):
        return list(devices)
    message = f"`devices` must be a number, a list of numbers, or a string of these, not {devices!r}."
    raise TypeError(message)


def _read_text(devices: str) -> int | list[int]:
    try:
        if "," in devices:
            return [int(part) for part in devices.split(",") if part.strip()]
        return int(devices)
    except ValueError:
        message = f'`devices` must be "auto", a number or indices such as "0,2", not {devices!r}.'
        raise MisconfigurationException(message) from None


def _refuse(devices: object, reason: str, *, available: Sequence[int], kind: str) -> None:
    message = f"`devices={devices!r}` {reason}. {kind} devices here: {list(available)}. Name some of these, or 'auto'."
    raise MisconfigurationException(message)
