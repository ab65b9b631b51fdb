"""``barebones=True``: nothing but the loop, to measure what it costs."""

from collections.abc import Mapping
from typing import Final

_CONFLICTING: Final = (
    "enable_checkpointing",
    "logger",
    "enable_progress_bar",
    "log_every_n_steps",
    "log_gradient_norm",
    "enable_model_summary",
    "num_sanity_val_steps",
    "fast_dev_run",
    "detect_anomaly",
    "profiler",
)

BAREBONES_ARGUMENTS: Final[Mapping[str, object]] = {
    "enable_checkpointing": False,
    "logger": False,
    "enable_progress_bar": False,
    "log_every_n_steps": 0,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}
"""What ``barebones=True`` sets; the other arguments that it refuses are off by themselves."""


def refuse_barebones_conflicts(arguments: Mapping[str, object]) -> None:
    """Refuse what ``barebones=True`` switches off and the user asks for all the same.

    Args:
        arguments: the Trainer's arguments by name; those left out may be missing.

    Raises:
        ValueError: naming every conflicting argument.
    """
    conflicts = [f"`{name}={arguments[name]!r}`" for name in _CONFLICTING if arguments.get(name)]
    if conflicts:
        message = (
            f"`barebones=True` measures the bare loop and can't go with {', '.join(conflicts)}. "
            "Leave these out, or leave `barebones` out."
        )
        raise ValueError(message)
