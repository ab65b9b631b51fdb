from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lt_fabric import Fabric
from lt_fabric.single_device import SingleDeviceStrategy
from lt_interfaces import Capability, MisconfigurationException

ROWS = torch.randn(24, 3, generator=torch.Generator().manual_seed(0))


def loss_of(model: nn.Module, rows: Tensor) -> Tensor:
    return model(rows).square().mean()


def trained(sizes: Sequence[int], *, clip: float | None = None, as_tensors: bool = False, steps: int = 2) -> Tensor:
    """Return the weights after some steps, each over the same rows, cut into micro-batches of these sizes."""
    fabric = Fabric(accelerator="cpu")
    torch.manual_seed(1)
    model = nn.Linear(3, 2)
    model, optimizer = fabric.setup(model, torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9))
    for _ in range(steps):
        for rows in ROWS[: sum(sizes)].split(list(sizes)):
            weight = torch.tensor(len(rows)) if as_tensors else len(rows)
            fabric.backward(loss_of(model, rows), weight=weight)
        if clip is not None:
            fabric.clip_gradients(model, optimizer, max_norm=clip)
        optimizer.step()
        optimizer.zero_grad()
    return nn.utils.parameters_to_vector(model.parameters()).detach()


@settings(deadline=None, max_examples=25)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    clip=st.sampled_from([None, 0.1]),
    as_tensors=st.booleans(),
)
def test_a_step_does_not_depend_on_how_its_batch_was_cut(
    sizes: list[int], clip: float | None, as_tensors: bool
) -> None:
    found = trained(sizes, clip=clip, as_tensors=as_tensors)
    torch.testing.assert_close(found, trained([sum(sizes)], clip=clip), rtol=0, atol=1e-6)


def test_gradients_made_in_a_closure_are_weighted_too() -> None:
    fabric = Fabric(accelerator="cpu")
    model = nn.Linear(3, 2)
    model, optimizer = fabric.setup(model, torch.optim.SGD(model.parameters(), lr=0.0))

    def closure() -> None:
        fabric.backward(loss_of(model, ROWS[:2]), weight=2)
        fabric.backward(loss_of(model, ROWS[2:8]), weight=6)

    optimizer.step(closure)
    found = model.weight.grad.clone()
    optimizer.zero_grad()
    loss_of(model, ROWS[:8]).backward()
    torch.testing.assert_close(found, model.weight.grad)


@pytest.mark.parametrize("weights", [(None, 2.0), (2.0, None)])
def test_some_weights_within_a_step_are_refused(weights: tuple[float | None, float | None]) -> None:
    fabric = Fabric(accelerator="cpu")
    model = fabric.setup(nn.Linear(3, 2))
    fabric.backward(loss_of(model, ROWS), weight=weights[0])
    with pytest.raises(ValueError, match="weight"):
        fabric.backward(loss_of(model, ROWS), weight=weights[1])


def test_the_next_step_may_do_without_weights() -> None:
    fabric = Fabric(accelerator="cpu")
    model = nn.Linear(3, 2)
    model, optimizer = fabric.setup(model, torch.optim.SGD(model.parameters(), lr=0.1))
    for weight in (2.0, None, 3.0):
        fabric.backward(loss_of(model, ROWS), weight=weight)
        optimizer.step()


@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf"), torch.ones(2)])
def test_a_weight_that_is_none_is_refused(weight: Any) -> None:
    fabric = Fabric(accelerator="cpu")
    model = fabric.setup(nn.Linear(3, 2))
    with pytest.raises(ValueError, match="`weight` must be a number >= 0 or a tensor with one element"):
        fabric.backward(loss_of(model, ROWS), weight=weight)


def test_a_strategy_that_cant_weight_losses_says_so() -> None:
    class Engine(SingleDeviceStrategy):
        def supports(self, part: Any) -> bool:
            return part is not Capability.WEIGHTED_LOSSES and super().supports(part)

    fabric = Fabric(accelerator="cpu", strategy=Engine())
    model = fabric.setup(nn.Linear(3, 2))
    with pytest.raises(MisconfigurationException, match="Engine can't weight losses"):
        fabric.backward(loss_of(model, ROWS), weight=2)
