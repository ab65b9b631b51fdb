"""What needs no wandb; the rest is in tracker_tests/."""

from importlib.util import find_spec
from typing import Any

import pytest

from lt_interfaces.errors import MisconfigurationException, MissingPackageError
from lt_loggers import WandbLogger


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"offline": True, "log_model": "all"}, "`log_model='all'` can't send checkpoints with `offline=True`"),
        ({"log_model": "best"}, "`log_model` must be True, False or \"all\", got 'best'"),
        ({"add_file_policy": "copy"}, '`add_file_policy` must be "mutable" or "immutable", got \'copy\''),
    ],
)
def test_arguments_that_cant_work_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(MisconfigurationException, match=message):
        WandbLogger(**arguments)


@pytest.mark.skipif(find_spec("wandb") is not None, reason="wandb is installed")
def test_without_wandb_the_pip_line_is_given() -> None:
    with pytest.raises(MissingPackageError, match=r'pip install "lt-loggers\[wandb\]"'):
        WandbLogger()
