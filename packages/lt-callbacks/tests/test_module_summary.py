"""The summary has the columns and totals that Lightning's has. Numbers were observed from Lightning 2.6.6."""

import pytest
import torch
from torch import Tensor, nn

from lt_callbacks.module_summary import ModelSummary


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        self.extra = nn.Parameter(torch.zeros(3))
        self.net[0].weight.requires_grad = False
        self.example_input_array = torch.zeros(5, 4)

    def forward(self, batch: Tensor) -> Tensor:
        result: Tensor = self.net(batch)
        return result


def test_columns_are_those_of_the_layers_down_to_the_depth() -> None:
    first = ModelSummary(Model())
    assert (first.layer_names, first.layer_types, first.param_nums) == (["net"], ["Sequential"], [58])
    every = ModelSummary(Model(), max_depth=-1)
    assert every.layer_names == ["net", "net.0", "net.1", "net.2"]
    assert every.layer_types == ["Sequential", "Linear", "ReLU", "Linear"]
    assert every.param_nums == [58, 40, 0, 18]
    assert every.in_sizes == [[5, 4], [5, 4], [5, 8], [5, 8]]
    assert every.out_sizes == [[5, 2], [5, 8], [5, 8], [5, 2]]
    assert every.training_modes == [True] * 4
    assert [name for name, _ in every.named_modules] == every.layer_names
    assert ModelSummary(Model(), max_depth=0).layer_names == []


def test_totals_are_those_of_the_whole_module() -> None:
    summary = ModelSummary(Model(), max_depth=-1)
    assert (summary.total_parameters, summary.trainable_parameters, summary.total_layer_params) == (61, 29, 116)
    assert summary.model_size == pytest.approx(0.000244)
    assert summary.total_flops == 480
    assert summary.total_training_modes == {"train": 5, "eval": 0}


def test_it_prints_as_a_table() -> None:
    text = str(ModelSummary(Model(), max_depth=2))
    assert repr(ModelSummary(Model(), max_depth=2)) == text
    for part in ("net.0", "Linear", "other params", "Trainable params", "[5, 8]"):
        assert part in text


def test_rows_can_be_read_by_name() -> None:
    rows = ModelSummary(Model(), max_depth=2).summarize()
    assert (rows["net.2"].num_parameters, rows["net.2"].layer_type) == (18, "Linear")


def test_an_impossible_depth_is_refused() -> None:
    with pytest.raises(ValueError, match="`max_depth`"):
        ModelSummary(Model(), max_depth=-2)
