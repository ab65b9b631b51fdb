"""Chemprop, by its command line."""

import pytest
from compat_tests.libraries.library_contract import LibraryContract
from compat_tests.libraries.sides import SECONDS


@pytest.mark.timeout(3 * SECONDS)
class TestChemprop(LibraryContract):
    story = "molecules"
    package = "chemprop"
    falling = "train_loss_epoch"
    steps_at_the_end = 21
