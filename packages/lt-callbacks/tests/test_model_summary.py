from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lt_callbacks.model_summary import UNKNOWN_SIZE, summarize


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5))
        self.head = nn.Linear(8, 2)
        self.scale = nn.Parameter(torch.ones(3))
        self.head.requires_grad_(False)
        self.body.eval()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.head(self.body(x))
        return result


class WithExample(Classifier):
    def __init__(self, example: Any) -> None:
        super().__init__()
        self.example_input_array = example


@pytest.mark.parametrize(
    ("depth", "names"),
    [
        (0, []),
        (1, ["body", "head"]),
        (2, ["body", "body.0", "body.1", "head"]),
        (-1, ["body", "body.0", "body.1", "head"]),
    ],
)
def test_layers_are_listed_down_to_a_depth(depth: int, names: list[str]) -> None:
    assert [layer.name for layer in summarize(Classifier(), depth).layers] == names


@pytest.mark.parametrize("depth", [-2, 1.5, "all"])
def test_another_depth_is_refused_by_name(depth: Any) -> None:
    with pytest.raises(ValueError, match="`max_depth` must be"):
        summarize(Classifier(), depth)


def test_parameters_are_counted_once_and_the_modules_own_apart() -> None:
    summary = summarize(Classifier())
    assert [layer.num_parameters for layer in summary.layers] == [40, 18]
    assert summary.num_parameters == 61
    assert summary.num_trainable_parameters == 43
    assert summary.num_other_parameters == 3


def test_shared_parameters_count_once_in_the_total() -> None:
    layer = nn.Linear(2, 2)
    assert summarize(nn.Sequential(layer, nn.ReLU(), layer)).num_parameters == 6


def test_the_size_is_that_of_the_parameters_own_types() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False).to(torch.bfloat16))
    assert summarize(model).size_bytes == 16 * 4 + 16 * 2


def test_modes_are_counted() -> None:
    summary = summarize(Classifier())
    assert (summary.num_modules_in_train_mode, summary.num_modules_in_eval_mode) == (2, 3)
    assert [layer.mode for layer in summary.layers] == ["eval", "train"]


@pytest.mark.parametrize("example", [torch.ones(3, 4), (torch.ones(3, 4),), {"x": torch.ones(3, 4)}])
def test_an_example_input_tells_sizes_and_operations(example: Any) -> None:
    summary = summarize(WithExample(example))
    body, head = summary.layers
    assert (body.in_size, body.out_size, head.out_size) == ([3, 4], [3, 8], [3, 2])
    assert (body.flops, head.flops, summary.total_flops) == (192, 96, 288)


def test_without_an_example_sizes_are_unknown() -> None:
    summary = summarize(Classifier())
    assert not summary.has_sizes
    assert {layer.in_size for layer in summary.layers} == {UNKNOWN_SIZE}


def test_looking_changes_nothing() -> None:
    model = WithExample(torch.ones(3, 4))
    modes = [part.training for part in model.modules()]
    random_state = torch.get_rng_state()
    summarize(model)
    assert [part.training for part in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not any(part._forward_hooks for part in model.modules())
    assert model.body[0].weight.grad is None


def test_running_statistics_do_not_move() -> None:
    model = nn.Sequential(nn.BatchNorm1d(4))
    model.example_input_array = torch.ones(3, 4)
    summarize(model)
    assert torch.equal(next(model.buffers()), torch.zeros(4))


def test_a_forward_that_fails_leaves_no_hooks_and_modes_as_before() -> None:
    model = WithExample(torch.ones(3, 5))
    with pytest.raises(RuntimeError):
        summarize(model)
    assert model.training
    assert not any(part._forward_hooks for part in model.modules())


def test_lazy_parameters_count_as_none_with_a_warning() -> None:
    model = nn.Sequential(nn.LazyLinear(2), nn.Linear(2, 2))
    with pytest.warns(UserWarning, match="lazily initialized"):
        assert summarize(model).num_parameters == 6
