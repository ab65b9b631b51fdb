import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lt_interfaces.portable_state import optimizer_state_from_names, optimizer_state_to_names


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        self.head = nn.Linear(3, 1)


NAMES = [name for name, _ in Net().named_parameters()]


def optimizer_for(net: nn.Module, groups: list[list[str]], named: bool = False) -> torch.optim.Optimizer:
    parameters = dict(net.named_parameters())
    given: list[dict[str, Any]] = [
        {"params": [(name, parameters[name]) if named else parameters[name] for name in names], "lr": 0.1 * (i + 1)}
        for i, names in enumerate(groups)
    ]
    return torch.optim.AdamW(given)


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 2) -> None:
    for step in range(steps):
        optimizer.zero_grad()
        loss = torch.stack([(p * (step + 2)).square().sum() for p in net.parameters() if p.requires_grad]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def weights(net: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in net.parameters()]


@st.composite
def groupings(draw: st.DrawFn) -> tuple[list[list[str]], list[list[str]], list[str]]:
    """Draw groups of some parameters, the same groups in another order, and the frozen rest."""
    kinds = draw(st.lists(st.integers(-1, 2), min_size=len(NAMES), max_size=len(NAMES)))
    groups = [[name for name, kind in zip(NAMES, kinds, strict=True) if kind == wanted] for wanted in range(3)]
    groups = [group for group in groups if group] or [[NAMES[0]]]
    shuffled = draw(st.permutations([draw(st.permutations(group)) for group in groups]))
    frozen = [name for name in NAMES if not any(name in group for group in groups)]
    return groups, list(shuffled), frozen


@settings(max_examples=30, deadline=None)
@given(drawn=groupings(), named=st.booleans())
def test_state_survives_another_order_of_groups_and_parameters(
    drawn: tuple[list[list[str]], list[list[str]], list[str]], named: bool
) -> None:
    groups, shuffled, frozen = drawn
    net = Net()
    for name in frozen:
        net.get_parameter(name).requires_grad_(False)
    optimizer = optimizer_for(net, groups)
    train(net, optimizer)
    portable = optimizer_state_to_names(net, optimizer)
    assert set(portable["state"]) == {name for group in groups for name in group}
    portable = copy.deepcopy(portable)  # as a file would; torch loads tensors without copying

    twin = copy.deepcopy(net)
    resumed = optimizer_for(twin, shuffled, named)
    resumed.load_state_dict(optimizer_state_from_names(twin, resumed, portable))
    train(net, optimizer)
    train(twin, resumed)
    torch.testing.assert_close(weights(twin), weights(net), rtol=0, atol=0)


def test_round_trip_gives_the_very_state_of_torch() -> None:
    net = Net()
    optimizer = optimizer_for(net, [NAMES[:2], NAMES[2:]])
    train(net, optimizer)
    before = copy.deepcopy(optimizer.state_dict())
    back = optimizer_state_from_names(net, optimizer, optimizer_state_to_names(net, optimizer))
    assert back["param_groups"] == before["param_groups"]
    torch.testing.assert_close(back["state"], before["state"], rtol=0, atol=0)
    torch.testing.assert_close(optimizer.state_dict()["state"], before["state"], rtol=0, atol=0)


def test_names_are_those_of_the_unwrapped_module() -> None:
    class Compiled(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self._orig_mod = module

    net = Net()
    optimizer = optimizer_for(net, [NAMES])
    assert optimizer_state_to_names(Compiled(net), optimizer)["param_groups"][0]["params"] == NAMES


def test_tied_parameters_are_found_under_any_of_their_names() -> None:
    net = Net()
    net.body[1] = net.body[0]
    optimizer = torch.optim.AdamW(net.parameters())
    train(net, optimizer)
    portable = optimizer_state_to_names(net, optimizer)
    assert "body.0.weight" in portable["state"]
    portable["state"]["body.1.weight"] = portable["state"].pop("body.0.weight")
    portable["param_groups"][0]["params"][0] = "body.1.weight"
    assert set(optimizer_state_from_names(net, optimizer, portable)["state"]) == {0, 1, 2, 3}


def test_a_parameter_outside_the_module_is_refused() -> None:
    stranger = nn.Parameter(torch.zeros(7))
    with pytest.raises(ValueError, match=r"Group 0 of SGD.*\(7,\).*Net"):
        optimizer_state_to_names(Net(), torch.optim.SGD([stranger], lr=0.1))


@pytest.mark.parametrize(
    ("saved", "wanted", "reason"),
    [
        ([NAMES[:2]], [NAMES[:3]], r"nothing was saved for \['body.1.weight'\]"),
        ([NAMES[:2], NAMES[2:]], [NAMES], "grouped differently"),
        ([NAMES[:2], NAMES[2:]], [NAMES[:2]], "doesn't hold.*body.1.weight"),
    ],
)
def test_state_of_other_groups_is_refused_by_name(saved: list[list[str]], wanted: list[list[str]], reason: str) -> None:
    net = Net()
    portable = optimizer_state_to_names(net, optimizer_for(net, saved))
    with pytest.raises(ValueError, match=reason):
        optimizer_state_from_names(net, optimizer_for(net, wanted), portable)
