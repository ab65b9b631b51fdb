from importlib.metadata import version

import lt_strategies


def test_package_is_installed_under_its_name() -> None:
    assert lt_strategies.__name__ == "lt_strategies"
    assert version("lt-strategies")
