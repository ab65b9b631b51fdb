import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer

from lt_fabric.assemble import assemble
from lt_fabric.clipping import clip_gradients_of
from lt_fabric.full_precision import FullPrecision
from lt_fabric.hardware import resolve_hardware


class Scaling(FullPrecision):
    """Gradients are ten times too large until they're unscaled."""

    def unscale_gradients(self, optimizer: Optimizer) -> None:
        for parameter in optimizer.param_groups[0]["params"]:
            parameter.grad /= 10


def test_the_norm_is_that_of_unscaled_gradients_of_the_optimizers_parameters() -> None:
    mine, other = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    mine.grad, other.grad = torch.tensor([30.0, 40.0]), torch.tensor([100.0, 100.0])
    runtime = assemble(resolve_hardware(accelerator="cpu", plugins=Scaling()))
    norm = clip_gradients_of(
        SGD([mine], lr=0.1), runtime, clip_value=None, max_norm=1.0, norm_type=2.0, error_if_nonfinite=True
    )
    assert norm == pytest.approx(5.0)
    torch.testing.assert_close(mine.grad, torch.tensor([0.6, 0.8]))
    assert other.grad.tolist() == [100.0, 100.0]
