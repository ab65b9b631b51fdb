from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from contract_checks import assert_can_be_written_from_the_docstring, assert_demands_each_method

from lt_interfaces.logger import Logger

DEFAULTS = (
    *("root_dir", "log_dir", "save_dir", "group_separator"),
    *("log_graph", "save", "finalize", "after_save_checkpoint"),
)


class Smallest(Logger):
    """What a logger must have, and a save that counts."""

    name = None
    version = None

    def __init__(self) -> None:
        self.saved = 0

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log nothing."""

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Log nothing."""

    def save(self) -> None:
        self.saved += 1


def test_nothing_of_the_contract_can_be_left_out() -> None:
    assert_demands_each_method(Logger, but_not=DEFAULTS)


def test_the_contract_says_what_each_method_is_for() -> None:
    assert_can_be_written_from_the_docstring(Logger)


def test_a_logger_without_files_has_no_folders() -> None:
    logger = Smallest()
    assert (logger.root_dir, logger.log_dir, logger.save_dir) == (None, None, None)


def test_what_is_buffered_is_written_when_the_run_ends() -> None:
    logger = Smallest()
    logger.finalize("success")
    assert logger.saved == 1


def test_graphs_and_checkpoints_may_be_ignored() -> None:
    logger = Smallest()
    logger.log_graph(torch.nn.Linear(1, 1), torch.ones(1))
    logger.after_save_checkpoint(SimpleNamespace(best_model_path="", last_model_path="", dirpath=None))
    assert logger.saved == 0
