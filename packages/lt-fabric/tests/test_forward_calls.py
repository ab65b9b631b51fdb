import pytest
import torch
from torch import Tensor, nn

from lt_fabric.forward_calls import refusing_forward_calls


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def encode(self, inputs: Tensor) -> Tensor:
        encoded: Tensor = self.layer(inputs)
        return encoded

    def bias(self) -> Tensor:
        return self.layer.bias


def test_calling_a_submodule_is_refused_and_leaves_no_hooks() -> None:
    net = Net()
    with pytest.raises(RuntimeError, match=r"`Net.encode\(\)` calls the submodule Linear"):
        refusing_forward_calls(net.encode, net)(torch.ones(1, 1))  # type: ignore[arg-type]  # a bound method
    assert net.encode(torch.ones(1, 1)).shape == (1, 1)


def test_other_methods_work() -> None:
    net = Net()
    assert refusing_forward_calls(net.bias, net)() is net.layer.bias  # type: ignore[arg-type]  # a bound method
