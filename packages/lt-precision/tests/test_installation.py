from importlib.metadata import version

import lt_precision


def test_package_is_installed_under_its_name() -> None:
    assert lt_precision.__name__ == "lt_precision"
    assert version("lt-precision")
