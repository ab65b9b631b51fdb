import pytest
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from lt_interfaces.errors import MisconfigurationException
from lt_precision.linear_layers import linear_layers, refuse_sizes, replaced, untied_linear_layers


def test_layers_come_with_their_full_names() -> None:
    module = nn.ModuleDict({"body": nn.Sequential(nn.Linear(2, 2), nn.ReLU()), "head": nn.Linear(2, 1)})
    assert [name for name, _ in linear_layers(module)] == ["body.0", "head"]


def test_what_is_derived_from_a_linear_layer_is_left_out() -> None:
    module = nn.ModuleDict({"attention": nn.MultiheadAttention(4, 1), "normed": weight_norm(nn.Linear(2, 2))})
    assert list(linear_layers(module)) == []


def test_a_module_that_is_a_linear_layer_itself_has_an_empty_name() -> None:
    layer, other = nn.Linear(2, 2), nn.Identity()
    assert list(linear_layers(layer)) == [("", layer)]
    assert replaced(layer, [("", other)]) is other


def test_both_layers_that_share_a_weight_are_left_out() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    module[2].weight = module[0].weight
    assert [name for name, _ in untied_linear_layers(module)] == ["1"]


def test_a_layer_in_two_places_counts_once() -> None:
    layer = nn.Linear(2, 2)
    assert [name for name, _ in untied_linear_layers(nn.Sequential(layer, nn.ReLU(), layer))] == ["0"]


def test_a_layer_is_replaced_where_it_stands() -> None:
    module = nn.ModuleDict({"body": nn.Sequential(nn.Linear(2, 2), nn.ReLU())})
    new = nn.Identity()
    assert replaced(module, [("body.0", new)]) is module
    assert module.get_submodule("body.0") is new


def test_a_layer_in_two_places_is_replaced_in_both() -> None:
    layer, new = nn.Linear(2, 2), nn.Identity()
    module = replaced(nn.ModuleDict({"a": layer, "b": nn.Sequential(layer)}), [("a", new)])
    assert module["a"] is new
    assert module["b"][0] is new


def test_a_replacement_trains_or_evaluates_as_what_it_replaces() -> None:
    module = replaced(nn.Sequential(nn.Linear(2, 2).eval(), nn.Linear(2, 2)), [("0", nn.ReLU()), ("1", nn.ReLU())])
    assert [part.training for part in module] == [False, True]


def test_every_layer_of_an_unfit_size_is_named() -> None:
    layers = [("a", nn.Linear(16, 32)), ("b.0", nn.Linear(16, 8)), ("c", nn.Linear(20, 16))]
    with pytest.raises(MisconfigurationException) as caught:
        refuse_sizes(layers, multiple=16, what="`precision='x'`", way_out="leave out {names}.")
    message = str(caught.value)
    assert "multiples of 16, which these aren't: `b.0` (16 to 8), `c` (20 to 16)." in message
    assert "`precision='x'` takes" in message
    assert "leave out {" in message


def test_fit_sizes_are_taken() -> None:
    refuse_sizes([("a", nn.Linear(16, 32))], multiple=16, what="x", way_out="{names}")
