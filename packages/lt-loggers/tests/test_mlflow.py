"""What needs no mlflow; the rest is in tracker_tests/."""

from importlib.util import find_spec

import pytest

from lt_interfaces.errors import MisconfigurationException, MissingPackageError
from lt_loggers import MLFlowLogger


def test_log_model_is_one_of_three() -> None:
    with pytest.raises(MisconfigurationException, match="`log_model` must be True, False or \"all\", got 'best'"):
        MLFlowLogger(log_model="best")  # type: ignore[arg-type]


@pytest.mark.skipif(find_spec("mlflow") is not None, reason="mlflow is installed")
def test_without_mlflow_the_pip_line_is_given() -> None:
    with pytest.raises(MissingPackageError, match=r'pip install "lt-loggers\[mlflow\]"'):
        MLFlowLogger()
