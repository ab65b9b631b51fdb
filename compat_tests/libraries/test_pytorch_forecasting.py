"""PyTorch Forecasting, both of its versions."""

import pytest
from compat_tests.libraries.library_contract import LibraryContract
from compat_tests.libraries.sides import SECONDS


@pytest.mark.timeout(3 * SECONDS)
class TestPyTorchForecasting(LibraryContract):
    story = "forecasting"
    package = "pytorch_forecasting"
    falling = "train_loss_epoch"
    steps_at_the_end = 20
