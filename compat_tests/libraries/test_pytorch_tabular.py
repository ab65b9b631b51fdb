"""PyTorch Tabular, which knows Lightning as `pytorch_lightning`."""

import pytest
from compat_tests.libraries.library_contract import LibraryContract
from compat_tests.libraries.sides import SECONDS


@pytest.mark.timeout(3 * SECONDS)
class TestPyTorchTabular(LibraryContract):
    story = "tables"
    package = "pytorch_tabular"
    falling = "valid_loss"
    steps_at_the_end = 40
