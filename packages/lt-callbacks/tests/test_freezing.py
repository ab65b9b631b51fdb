import warnings

import pytest
import torch
from torch import nn
from torch.optim import SGD

from lt_callbacks.finetuning import BaseFinetuning
from lt_callbacks.freezing import (
    filter_on_optimizer,
    filter_params,
    flatten_modules,
    freeze,
    freeze_module,
    make_trainable,
    unfreeze_and_add_param_group,
)


class Scaled(nn.Module):
    """Holds a parameter itself, beside a module."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.inner = nn.Linear(1, 1)


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Sequential(nn.ReLU(), nn.Linear(2, 1)))


def trained(module: nn.Module) -> list[str]:
    return [name for name, parameter in module.named_parameters() if parameter.requires_grad]


def test_modules_are_flattened_to_those_that_hold_parameters_or_nothing() -> None:
    module, scaled = net(), Scaled()
    assert flatten_modules(module) == [module[0], module[1], *module[2]]
    assert flatten_modules(scaled) == [scaled, scaled.inner]
    assert flatten_modules([module, [scaled]]) == [*flatten_modules(module), scaled, scaled.inner]


def test_parameters_are_filtered_by_whether_they_are_trained() -> None:
    module = net()
    module[0].weight.requires_grad = False
    assert list(filter_params(module, requires_grad=False)) == [module[0].weight]
    assert len(list(filter_params(module))) == 5
    assert len(list(filter_params(module, train_bn=False))) == 3


def test_each_parameter_comes_once_where_a_module_has_parameters_and_modules() -> None:
    assert len(list(filter_params(Scaled()))) == 3


def test_freezing_leaves_batch_norm_trained_unless_told_otherwise() -> None:
    module = net()
    freeze(module)
    assert trained(module) == ["1.weight", "1.bias"]
    assert module[1].track_running_stats
    freeze(module, train_bn=False)
    assert trained(module) == []
    assert not module[1].track_running_stats


def test_a_frozen_batch_norm_keeps_its_statistics_and_uses_them_in_evaluation() -> None:
    layer = nn.BatchNorm1d(2)
    freeze_module(layer)
    layer(torch.randn(4, 2) + 5)
    assert torch.equal(layer.running_mean, torch.zeros(2))  # type: ignore[arg-type]
    layer.eval()
    assert torch.allclose(layer(torch.ones(1, 2)), torch.ones(1, 2), atol=1e-4)


def test_what_is_frozen_can_be_trained_again() -> None:
    module = net()
    freeze(module, train_bn=False)
    make_trainable(module)
    assert len(trained(module)) == 6
    assert module[1].track_running_stats


def test_freezing_one_module_leaves_those_inside() -> None:
    scaled = Scaled()
    freeze_module(scaled)
    assert trained(scaled) == ["inner.weight", "inner.bias"]


def test_unfrozen_modules_get_a_group_with_a_lower_rate() -> None:
    module = net()
    freeze(module, train_bn=False)
    optimizer = SGD([nn.Parameter(torch.ones(1))], lr=0.1)
    unfreeze_and_add_param_group(module[0], optimizer)
    unfreeze_and_add_param_group([module[2]], optimizer, 0.5, 2.0)
    assert [(len(group["params"]), group["lr"]) for group in optimizer.param_groups] == [(1, 0.1), (2, 0.01), (2, 0.5)]


def test_batch_norm_stays_frozen_where_it_is_not_to_be_trained() -> None:
    module = net()
    freeze(module, train_bn=False)
    optimizer = SGD([nn.Parameter(torch.ones(1))], lr=0.1)
    unfreeze_and_add_param_group(module, optimizer, train_bn=False)
    assert trained(module) == ["0.weight", "0.bias", "2.1.weight", "2.1.bias"]
    assert not module[1].track_running_stats
    assert len(optimizer.param_groups[1]["params"]) == 4


def test_parameters_in_the_optimizer_already_are_left_where_they_are_with_a_warning() -> None:
    module = net()
    optimizer = SGD(module[0].parameters(), lr=0.1)
    with pytest.warns(UserWarning, match="2 of the parameters to train from now on are in SGD already"):
        assert len(filter_on_optimizer(optimizer, module.parameters())) == 4
    freeze(module)
    with pytest.warns(UserWarning, match="already"):
        unfreeze_and_add_param_group(module[0], optimizer)
    assert len(optimizer.param_groups) == 1


def test_what_was_trained_all_along_keeps_its_group_without_a_word() -> None:
    module = net()
    freeze(module)
    optimizer = SGD(module[1].parameters(), lr=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        unfreeze_and_add_param_group(module, optimizer)
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 4]


def test_trained_parameters_that_no_group_has_get_one() -> None:
    module = net()
    optimizer = SGD(module[0].parameters(), lr=0.1)
    unfreeze_and_add_param_group(module[2], optimizer)
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 2]


def test_the_base_class_offers_all_of_it() -> None:
    module = net()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        BaseFinetuning.freeze(module)
    assert BaseFinetuning().flatten_modules(module) == flatten_modules(module)
