import torch
from torch import Tensor, nn

from lt_callbacks.late_gradients import average_gradients, late_parameters


def parameter(value: float | None, *, size: int = 1, dtype: torch.dtype = torch.float32) -> nn.Parameter:
    made = nn.Parameter(torch.zeros(size, dtype=dtype))
    made.grad = None if value is None else torch.full_like(made, value)
    return made


def with_zeros(tensor: Tensor) -> Tensor:
    """Take the mean with a rank that has no gradients."""
    return tensor / 2


def with_ones(tensor: Tensor) -> Tensor:
    """Take the mean with a rank all of whose gradients are one."""
    return (tensor + 1) / 2


def gradients(*parameters: nn.Parameter) -> list[list[float] | None]:
    return [None if one.grad is None else one.grad.tolist() for one in parameters]


def test_gradients_become_the_mean_over_ranks_whatever_their_format() -> None:
    ours = [parameter(3.0, size=2), parameter(1.0, dtype=torch.float64), parameter(5.0)]
    average_gradients(ours, with_ones)
    assert gradients(*ours) == [[2.0, 2.0], [1.0], [3.0]]


def test_a_gradient_that_another_rank_alone_has_counts_half() -> None:
    ours = [parameter(3.0), parameter(None)]
    average_gradients(ours, with_ones)
    assert gradients(*ours) == [[2.0], [0.5]]


def test_a_gradient_that_no_rank_has_stays_away() -> None:
    ours = [parameter(3.0), parameter(None)]
    average_gradients(ours, with_zeros)
    assert gradients(*ours) == [[1.5], None]


def test_formats_take_one_reduction_each_in_an_order_that_ranks_share() -> None:
    seen = []
    ours = [parameter(1.0), parameter(1.0, dtype=torch.float64), parameter(1.0)]

    def note(tensor: Tensor) -> Tensor:
        seen.append((tensor.dtype, len(tensor)))
        return tensor

    average_gradients(ours, note)
    assert seen == [(torch.float32, 4), (torch.float64, 2)]


def test_late_are_the_trained_parameters_that_nobody_knew() -> None:
    module = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1), nn.Linear(1, 1))
    module[2].requires_grad_(False)
    assert late_parameters(module, module[0].parameters()) == list(module[1].parameters())
