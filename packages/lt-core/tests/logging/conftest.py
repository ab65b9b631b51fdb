from collections.abc import Callable
from typing import Any

import pytest

from lt_core.logging.slots import LogOptions

Options = Callable[..., LogOptions]


def log_options(**changes: Any) -> LogOptions:
    defaults: dict[str, Any] = {
        "prog_bar": False,
        "logger": None,
        "on_step": None,
        "on_epoch": None,
        "reduce_fx": "mean",
        "enable_graph": False,
        "sync_dist": False,
        "sync_dist_group": None,
        "add_dataloader_idx": True,
        "metric_attribute": None,
        "rank_zero_only": False,
    }
    return LogOptions(**{**defaults, **changes})


@pytest.fixture(scope="session")
def options() -> Options:
    """The arguments of a `self.log` call: its defaults, with these changes."""
    return log_options
