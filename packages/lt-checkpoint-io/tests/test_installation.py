from importlib.metadata import version

import lt_checkpoint_io


def test_package_is_installed_under_its_name() -> None:
    assert lt_checkpoint_io.__name__ == "lt_checkpoint_io"
    assert version("lt-checkpoint-io")
