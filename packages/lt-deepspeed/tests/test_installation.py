from importlib.metadata import version

import lt_deepspeed


def test_package_is_installed_under_its_name() -> None:
    assert lt_deepspeed.__name__ == "lt_deepspeed"
    assert version("lt-deepspeed")
