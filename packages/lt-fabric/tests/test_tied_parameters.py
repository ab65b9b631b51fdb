"""Shared parameters are found under all their names, and tied again."""

import pytest
import torch
from torch import nn

from lt_fabric.tied_parameters import find_shared_parameters, set_shared_parameters


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(2, 2)
        self.b = nn.Linear(2, 2)
        self.c = nn.Linear(2, 2, bias=False)
        self.b.weight = self.c.weight = self.a.weight
        self.b.bias = self.a.bias


def test_all_names_of_a_shared_parameter_are_found() -> None:
    assert find_shared_parameters(Tied()) == [["a.weight", "b.weight", "c.weight"], ["a.bias", "b.bias"]]
    assert find_shared_parameters(nn.Linear(1, 1)) == []


def test_names_of_a_shared_layer_are_found() -> None:
    module = nn.ModuleDict({"one": nn.Linear(1, 1, bias=False)})
    module["two"] = module["one"]
    assert find_shared_parameters(module) == [["one.weight", "two.weight"]]


def test_replaced_parameters_are_tied_again() -> None:
    module = Tied()
    shared = find_shared_parameters(module)
    module.b.weight = nn.Parameter(torch.zeros(2, 2))
    assert set_shared_parameters(module, shared) is module
    assert module.b.weight is module.a.weight is module.c.weight


def test_a_name_that_isnt_there_is_refused() -> None:
    with pytest.raises(AttributeError):
        set_shared_parameters(Tied(), [["nothing.weight", "a.weight"]])
