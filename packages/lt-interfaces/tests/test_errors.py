import os
import pickle
import subprocess
import sys
import warnings

import pytest

from lt_interfaces.errors import (
    MisconfigurationException,
    MissingPackageError,
    PossibleUserWarning,
    SIGTERMException,
    disable_possible_user_warnings,
    missing_package,
)


def test_misconfiguration_is_caught_as_value_error() -> None:
    with pytest.raises(ValueError, match="`devices`"):
        raise MisconfigurationException("`devices` must be positive")  # noqa: EM101 (the message is the point here)


def test_missing_package_is_an_import_error_with_the_install_line() -> None:
    error = missing_package("tqdm", "`TQDMProgressBar`", "lt-callbacks[tqdm]")
    assert isinstance(error, MissingPackageError)
    assert isinstance(error, ImportError)
    assert error.name == "tqdm"
    assert "`TQDMProgressBar`" in str(error)
    assert "pip install lt-callbacks[tqdm]" in str(error)


def test_sigterm_exits_with_code_143_also_after_pickling() -> None:
    assert SIGTERMException().code == 143
    assert pickle.loads(pickle.dumps(SIGTERMException())).code == 143


def test_possible_mistakes_can_be_silenced() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        disable_possible_user_warnings()
        warnings.warn("may be meant", PossibleUserWarning, stacklevel=1)
        with pytest.raises(UserWarning, match="another"):
            warnings.warn("another", UserWarning, stacklevel=1)


def test_possible_mistakes_can_be_silenced_for_some_modules() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        disable_possible_user_warnings(module="somewhere_else")
        with pytest.raises(PossibleUserWarning):
            warnings.warn("may be meant", PossibleUserWarning, stacklevel=1)


@pytest.mark.parametrize(("switch", "code"), [("off", 0), ("0", 0), ("1", 1)])
def test_possible_mistakes_can_be_silenced_by_the_environment(switch: str, code: int) -> None:
    program = "import warnings; from lt_interfaces.errors import PossibleUserWarning as W; warnings.warn('x', W)"
    environment = {**os.environ, "POSSIBLE_USER_WARNINGS": switch}
    command = [sys.executable, "-W", "error", "-c", program]
    assert subprocess.run(command, env=environment, capture_output=True, check=False, timeout=60).returncode == code
