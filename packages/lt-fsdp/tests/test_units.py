import functools

import pytest
from torch import nn
from torch.distributed.fsdp.wrap import ModuleWrapPolicy, size_based_auto_wrap_policy, transformer_auto_wrap_policy

from lt_fsdp.units import units_of


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(8, 4)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(4, 8)


def names(model: nn.Module, policy: object) -> list[str]:
    by_id = {id(module): name for name, module in model.named_modules()}
    return [by_id[id(unit)] for unit in units_of(model, policy)]


def test_the_blocks_that_a_model_repeats_are_units_and_not_what_they_are_made_of() -> None:
    assert names(Model(), None) == ["blocks.0", "blocks.1"]


def test_a_model_without_repeated_blocks_has_no_units() -> None:
    assert names(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.LayerNorm(2)), None) == []


@pytest.mark.parametrize(
    "policy",
    [
        {Block},
        [Block],
        ModuleWrapPolicy({Block}),
        functools.partial(transformer_auto_wrap_policy, transformer_layer_cls={Block}),
        lambda module: isinstance(module, Block),
    ],
    ids=["set", "list", "torch's policy", "torch's function", "own function"],
)
def test_classes_functions_and_torchs_policies_say_what_units_are(policy: object) -> None:
    assert names(Model(), policy) == ["blocks.0", "blocks.1"]


def test_units_within_units_come_before_them() -> None:
    inner_first = [
        "blocks.0.inner.0",
        "blocks.0.inner.1",
        "blocks.0",
        "blocks.1.inner.0",
        "blocks.1.inner.1",
        "blocks.1",
    ]
    assert names(Model(), {Block, nn.Linear}) == [*inner_first, "head"]


def test_a_policy_by_size_counts_parameters() -> None:
    large = functools.partial(size_based_auto_wrap_policy, min_num_params=36)
    assert names(Model(), large) == ["blocks.0.inner", "blocks.0", "blocks.1.inner", "blocks.1", "head"]


def test_modules_without_parameters_and_lists_are_never_units() -> None:
    model = nn.Sequential(nn.ReLU(), nn.ModuleList([nn.ReLU()]))
    assert names(model, lambda module: True) == []


@pytest.mark.parametrize("policy", [3, {"Block"}, set(), nn.Linear(1, 1)])
def test_anything_else_is_refused_by_name(policy: object) -> None:
    with pytest.raises(TypeError, match="`auto_wrap_policy` must"):
        units_of(Model(), policy)
