from collections.abc import Iterator
from pathlib import Path

import pytest

import lt_loggers
from lt_interfaces.logger import Logger
from lt_interfaces.testing import LoggerContract
from lt_loggers import CSVLogger, DummyLogger, TensorBoardLogger


class TestCSVLogger(LoggerContract):
    @pytest.fixture
    def logger(self, tmp_path: Path) -> Logger:
        return CSVLogger(tmp_path)


class TestDummyLogger(LoggerContract):
    @pytest.fixture
    def logger(self) -> Logger:
        return DummyLogger()


class TestTensorBoardLogger(LoggerContract):
    @pytest.fixture
    def logger(self, tmp_path: Path) -> Iterator[Logger]:
        logger = TensorBoardLogger(tmp_path)
        yield logger
        logger.finalize("success")


HELD_ELSEWHERE = {"CometLogger", "MLFlowLogger", "WandbLogger"}
"""In tracker_tests/, where the trackers are installed."""


def test_every_logger_for_users_is_held_to_the_contract() -> None:
    offered = [vars(lt_loggers)[name] for name in lt_loggers.__all__]
    loggers = (
        {one.__name__ for one in offered if isinstance(one, type) and issubclass(one, Logger)}
        - {"Logger"}
        - HELD_ELSEWHERE
    )
    assert {f"Test{name}" for name in loggers} <= set(globals())
