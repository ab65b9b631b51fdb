from importlib.metadata import version

import lt_fsdp


def test_package_is_installed_under_its_name() -> None:
    assert lt_fsdp.__name__ == "lt_fsdp"
    assert version("lt-fsdp")
