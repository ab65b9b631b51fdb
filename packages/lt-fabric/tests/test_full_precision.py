import pytest
import torch

from lt_fabric.full_precision import FullPrecision
from lt_interfaces.testing import PrecisionContract


class TestFullPrecision(PrecisionContract):
    @pytest.fixture
    def precision(self) -> FullPrecision:
        return FullPrecision()


def test_other_names_are_refused() -> None:
    with pytest.raises(ValueError, match="'16-true'"):
        FullPrecision("16-true", torch.device("cpu"))


def test_every_batch_shares_one_context() -> None:
    assert FullPrecision().forward_context() is FullPrecision().forward_context()
