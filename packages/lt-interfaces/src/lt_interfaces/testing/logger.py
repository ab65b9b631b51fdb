"""What every logger promises."""

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from torch import nn

from lt_interfaces.logger import Logger
from lt_interfaces.rank_zero import rank_zero_only, set_global_rank


class LoggerContract:
    """Subclass it and override `logger`; one that writes files writes them under `tmp_path`."""

    @pytest.fixture
    def logger(self, tmp_path: Path) -> Logger:
        """Return the logger to check, not used before."""
        raise NotImplementedError

    @pytest.fixture
    def on_rank_one(self) -> Iterator[None]:
        """Let rank-zero functions believe that this is rank 1."""
        before: int = rank_zero_only.rank  # type: ignore[attr-defined]  # upstream's function attribute
        set_global_rank(1)
        yield
        set_global_rank(before)

    def test_reading_it_writes_nothing(self, logger: Logger, tmp_path: Path) -> None:
        _ = (logger.name, logger.version, logger.root_dir, logger.log_dir, logger.save_dir)
        assert list(tmp_path.iterdir()) == []

    def test_its_version_stays(self, logger: Logger) -> None:
        assert logger.version == logger.version

    def test_folders_are_strings_or_nothing(self, logger: Logger) -> None:
        assert all(
            folder is None or isinstance(folder, str) for folder in (logger.root_dir, logger.log_dir, logger.save_dir)
        )

    def test_separates_groups_by_something(self, logger: Logger) -> None:
        assert logger.group_separator

    def test_takes_metrics_with_and_without_a_step(self, logger: Logger) -> None:
        logger.log_metrics({"loss": 0.5, "epoch": 0}, step=3)
        logger.log_metrics({"accuracy": 1.0})
        logger.save()

    @pytest.mark.parametrize("params", [{"lr": 0.1, "layers": [1, 2], "name": None}, Namespace(lr=0.1)])
    def test_takes_hyper_parameters(self, logger: Logger, params: object) -> None:
        logger.log_hyperparams(params)
        logger.save()

    def test_takes_a_graph_or_ignores_it(self, logger: Logger) -> None:
        logger.log_graph(nn.Linear(1, 1))

    def test_saves_with_nothing_to_save(self, logger: Logger) -> None:
        logger.save()
        logger.save()

    @pytest.mark.parametrize("status", ["success", "failed"])
    def test_ends_more_than_once(self, logger: Logger, status: str) -> None:
        logger.log_metrics({"loss": 0.5}, step=0)
        logger.finalize(status)
        logger.finalize(status)

    def test_hears_of_checkpoints(self, logger: Logger, tmp_path: Path) -> None:
        logger.after_save_checkpoint(SimpleNamespace(best_model_path="", last_model_path="", dirpath=str(tmp_path)))

    @pytest.mark.usefixtures("on_rank_one")
    def test_writes_on_rank_zero_only(self, logger: Logger, tmp_path: Path) -> None:
        logger.log_hyperparams({"lr": 0.1})
        logger.log_metrics({"loss": 0.5}, step=0)
        logger.save()
        logger.finalize("success")
        assert list(tmp_path.rglob("*.*")) == []
