"""What needs no comet_ml; the rest is in tracker_tests/."""

from importlib.util import find_spec
from typing import Any

import pytest

from lt_interfaces.errors import MisconfigurationException, MissingPackageError
from lt_loggers import CometLogger


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "resume"}, "`mode` must be one of get_or_create, get, create, got 'resume'"),
        ({"mode": "get"}, '`mode="get"` needs `experiment_key`'),
        ({"experiment_key": "short"}, "`experiment_key` must be 32 to 50 letters and digits, got 'short'"),
        ({"offline": True, "online": True}, "`offline` is the older name of `online`, and both were given"),
        ({"project": "a", "project_name": "b"}, "`project_name` is the older name of `project`"),
    ],
)
def test_arguments_that_cant_work_are_refused(
    arguments: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COMET_EXPERIMENT_KEY", raising=False)
    with pytest.raises(MisconfigurationException, match=message):
        CometLogger(**arguments)


def test_arguments_have_names() -> None:
    with pytest.raises(TypeError):
        CometLogger("key")  # type: ignore[misc]


@pytest.mark.skipif(find_spec("comet_ml") is not None, reason="comet_ml is installed")
def test_without_comet_the_pip_line_is_given() -> None:
    with pytest.raises(MissingPackageError, match=r'pip install "lt-loggers\[comet\]"'):
        CometLogger()
