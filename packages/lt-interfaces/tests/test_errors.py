import pickle

import pytest

from lt_interfaces.errors import MisconfigurationException, MissingPackageError, SIGTERMException, missing_package


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
