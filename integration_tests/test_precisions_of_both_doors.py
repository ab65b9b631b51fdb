"""A loop with Fabric and the Trainer come to the same weights in every precision."""

from pathlib import Path

import pytest
import torch
from precision_matrix import WITHOUT_GPU, Case, Net, fit, training_batches
from torch import nn

from lt_fabric import Fabric
from lt_interfaces import MisconfigurationException

TRAINABLE = [name for name in WITHOUT_GPU if not name.endswith("weight-only")]


def own_loop(case: Case) -> list[torch.Tensor]:
    """Return the weights after training as the Trainer does."""
    fabric = Fabric(accelerator="cpu", precision=case.precision)
    net = fabric.setup_module(Net(case, seed=0))
    optimizer = fabric.setup_optimizers(torch.optim.SGD(_trained(net), lr=0.1, momentum=0.9))
    for batch in training_batches(rank=0):
        fabric.backward(net.training_step(batch))
        fabric.clip_gradients(net, optimizer, max_norm=0.05)
        optimizer.step()
        optimizer.zero_grad()
    return [parameter.detach() for parameter in net.parameters()]


def _trained(net: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in net.parameters() if parameter.requires_grad]


@pytest.mark.parametrize("precision", TRAINABLE)
@pytest.mark.filterwarnings("ignore")
def test_fabric_trains_as_the_trainer_does(tmp_path: Path, precision: str) -> None:
    case = Case(precision, "single", "automatic", "norm", str(tmp_path))
    _, net, _ = fit(case)
    for one, other in zip(own_loop(case), net.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.filterwarnings("ignore")
def test_fabric_refuses_to_differentiate_what_only_infers(tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match="int8-weight-only"):
        own_loop(Case("int8-weight-only", "single", "automatic", "norm", str(tmp_path)))
