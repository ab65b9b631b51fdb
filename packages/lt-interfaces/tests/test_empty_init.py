import torch
from torch import nn

from lt_interfaces.empty_init import EmptyInit


def test_random_numbers_are_not_drawn_for_weights() -> None:
    before = torch.get_rng_state()
    with EmptyInit():
        nn.Sequential(nn.Linear(4, 4), nn.Conv2d(1, 2, 3), nn.Embedding(3, 3))
    assert torch.equal(torch.get_rng_state(), before)


def test_functions_of_torch_init_return_their_tensor_untouched() -> None:
    tensor = torch.zeros(2, 2)
    with EmptyInit():
        assert nn.init.normal_(tensor) is tensor
        assert nn.init.kaiming_uniform_(tensor=tensor) is tensor
    assert torch.equal(tensor, torch.zeros(2, 2))


def test_everything_else_works_as_ever() -> None:
    with EmptyInit():
        assert torch.ones(2).sum() == 2
    assert nn.init.ones_(torch.zeros(2)).sum() == 2
