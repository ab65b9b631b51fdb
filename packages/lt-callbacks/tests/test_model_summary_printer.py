import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from lt_callbacks import ModelSummary, RichModelSummary
from lt_interfaces.errors import MisconfigurationException

NewRun = Callable[..., Any]  # the stand-in run of conftest.py, which tests can't import


def test_it_is_printed_once_when_fitting_starts(new_run: NewRun, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="lt")
    new_run(ModelSummary(), module=nn.Sequential(nn.Linear(2, 2))).fit(epochs=2)
    assert caplog.text.count("Total params") == 1
    assert "Linear" in caplog.text


@pytest.mark.parametrize(("depth", "rank"), [(0, 0), (1, 1)])
def test_depth_zero_and_other_ranks_print_nothing(
    new_run: NewRun, caplog: pytest.LogCaptureFixture, depth: int, rank: int
) -> None:
    caplog.set_level(logging.INFO, logger="lt")
    new_run(ModelSummary(depth), global_rank=rank).fit()
    assert caplog.text == ""


def test_rich_prints_a_whole_table_into_logs(new_run: NewRun, capsys: pytest.CaptureFixture[str]) -> None:
    class Long(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.example_input_array = torch.ones(1, 2)
            self.add_module("a_name_that_is_longer_than_a_log_line_is_wide_" * 3, nn.Linear(2, 2))

        def forward(self, x: torch.Tensor) -> Any:
            return next(self.children())(x)

    new_run(RichModelSummary(), module=Long()).fit()
    out = capsys.readouterr().out
    assert "a_name_that_is_longer_than_a_log_line_is_wide_" * 3 in out
    assert "[1, 2]" in out
    assert re.search(r"Total params: +6 ", out)


def test_another_depth_is_refused_by_name() -> None:
    with pytest.raises(MisconfigurationException, match="`max_depth` must be"):
        ModelSummary(max_depth=-2)
