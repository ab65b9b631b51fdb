import pytest
import torch
from torch import nn

from lt_callbacks.model_summary import summarize
from lt_callbacks.summary_tables import plain_table, readable_number


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0  "), (999, "999  "), (1000, "1.0 K"), (99_900, "99.9 K"), (123_456, "123 K"), (7 * 10**15, "7,000 T")],
)
def test_numbers_are_written_in_units(number: int, text: str) -> None:
    assert readable_number(number) == text


def test_the_plain_table_lists_layers_and_totals() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
    model.register_parameter("scale", nn.Parameter(torch.ones(3)))
    text = plain_table(summarize(model))
    lines = [[cell.strip() for cell in line.split("|")] for line in text.splitlines()]
    assert lines[0] == ["", "Name", "Type", "Params", "Mode", "FLOPs"]
    assert lines[2] == ["0", "0", "Linear", "40", "train", "0"]
    assert lines[4] == ["", "other params", "n/a", "3", "n/a", "n/a"]
    assert "43        Total params" in text
    assert "0.000     Total estimated model params size (MB)" in text


def test_sizes_get_columns_when_known() -> None:
    model = nn.Sequential(nn.Linear(4, 8))
    model.example_input_array = torch.ones(2, 4)
    text = plain_table(summarize(model))
    assert "In sizes" in text
    assert "[2, 8]" in text
