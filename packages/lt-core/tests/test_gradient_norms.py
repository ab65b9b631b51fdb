import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lt_core.gradient_norms import grad_norm


def module_with_gradients(values: list[list[float]]) -> nn.Module:
    module = nn.ParameterDict({f"p{index}": nn.Parameter(torch.zeros(len(row))) for index, row in enumerate(values)})
    for parameter, row in zip(module.values(), values, strict=True):
        parameter.grad = torch.tensor(row, dtype=torch.float32)
    return module


GRADIENTS = st.lists(
    st.lists(st.floats(-100, 100, width=32, allow_subnormal=False), min_size=1, max_size=4), min_size=1, max_size=4
)


@given(GRADIENTS, st.sampled_from([1, 2, 3.0, "inf"]))
def test_total_is_the_norm_of_all_gradients_together(values: list[list[float]], norm_type: float | str) -> None:
    norms = grad_norm(module_with_gradients(values), norm_type)
    power = float(norm_type)
    everything = torch.tensor([value for row in values for value in row])
    expected = torch.linalg.vector_norm(everything, power).item()
    assert math.isclose(norms[f"grad_{power}_norm_total"].item(), expected, rel_tol=1e-4, abs_tol=1e-5)
    assert len(norms) == len(values) + 1


def test_names_are_those_that_loggers_of_lightning_users_know() -> None:
    module = module_with_gradients([[3.0, 4.0]])
    assert list(grad_norm(module, 2)) == ["grad_2.0_norm/p0", "grad_2.0_norm_total"]
    assert list(grad_norm(module, "inf", group_separator=".")) == ["grad_inf_norm.p0", "grad_inf_norm_total"]


def test_parameters_without_gradient_are_left_out() -> None:
    module = nn.Linear(2, 2)
    assert grad_norm(module, 2) == {}
    module.weight.grad = torch.ones(2, 2)
    assert list(grad_norm(module, 2)) == ["grad_2.0_norm/weight", "grad_2.0_norm_total"]


@pytest.mark.parametrize("norm_type", [0, -1, "-2", float("nan")])
def test_a_norm_needs_a_positive_power(norm_type: float | str) -> None:
    with pytest.raises(ValueError, match="`norm_type` must be a number greater than 0"):
        grad_norm(nn.Linear(1, 1), norm_type)
