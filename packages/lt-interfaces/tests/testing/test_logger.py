from collections.abc import Mapping
from pathlib import Path

import pytest
from toy_parts import ToyLogger

from lt_interfaces.logger import Logger
from lt_interfaces.testing import LoggerContract


class TestToyLogger(LoggerContract):
    @pytest.fixture
    def logger(self, tmp_path: Path) -> ToyLogger:
        return ToyLogger(tmp_path)


class Everywhere(ToyLogger):
    """Writes on every rank, and as soon as it's looked at."""

    @property
    def log_dir(self) -> str:
        Path(super().log_dir).mkdir(exist_ok=True)
        return super().log_dir

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._write(metrics)


mistake = pytest.mark.xfail(reason="the mistake under test", raises=AssertionError, strict=True)


class TestEverywhere(LoggerContract):
    @pytest.fixture
    def logger(self, tmp_path: Path) -> ToyLogger:
        return Everywhere(tmp_path)

    @mistake
    def test_reading_it_writes_nothing(self, logger: Logger, tmp_path: Path) -> None:
        super().test_reading_it_writes_nothing(logger, tmp_path)

    @pytest.mark.usefixtures("on_rank_one")
    @mistake
    def test_writes_on_rank_zero_only(self, logger: Logger, tmp_path: Path) -> None:
        super().test_writes_on_rank_zero_only(logger, tmp_path)
