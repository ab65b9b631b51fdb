from importlib.metadata import version

import lt_compat


def test_package_is_installed_under_its_name() -> None:
    assert lt_compat.__name__ == "lt_compat"
    assert version("lt-compat")
