from pathlib import Path

import pytest

import lt_callbacks
from lt_callbacks import (
    BackboneFinetuning,
    BaseFinetuning,
    BasePredictionWriter,
    BatchSizeFinder,
    DeviceStatsMonitor,
    EarlyStopping,
    EMAWeightAveraging,
    GradientAccumulationScheduler,
    LambdaCallback,
    LearningRateFinder,
    LearningRateMonitor,
    ModelCheckpoint,
    ModelSummary,
    OnExceptionCheckpoint,
    ProgressBar,
    RichModelSummary,
    RichProgressBar,
    SpikeDetection,
    ThroughputMonitor,
    Timer,
    TQDMProgressBar,
    WeightAveraging,
)
from lt_interfaces.callback import Callback
from lt_interfaces.testing import CallbackContract, RoleContract


class TestBackboneFinetuning(CallbackContract):
    @pytest.fixture
    def callback(self) -> Callback:
        return BackboneFinetuning()


class TestBaseFinetuning(CallbackContract):
    @pytest.fixture
    def callback(self) -> Callback:
        return BaseFinetuning()


class TestBasePredictionWriter(CallbackContract):
    @pytest.fixture
    def callback(self) -> Callback:
        return BasePredictionWriter("batch_and_epoch")


class TestBatchSizeFinder(CallbackContract):
    @pytest.fixture
    def callback(self) -> Callback:
        return BatchSizeFinder()


class TestDeviceStatsMonitor(CallbackContract):
    @pytest.fixture
    def callback(self) -> Callback:
        return DeviceStatsMonitor()


class TestEMAWeightAveraging(CallbackContract):
    @pytest.fixture
    def callback(self) -> Callback:
        return EMAWeightAveraging()


class TestWeightAveraging(CallbackContract):
    @pytest.fixture
    def callback(self) -> Callback:
        return WeightAveraging()


class TestEarlyStopping(CallbackContract):
    @pytest.fixture
    def callback(self) -> Callback:
        return EarlyStopping("val_loss")


class TestGradientAccumulationScheduler(CallbackContract):
    @pytest.fixture
    def callback(self) -> Callback:
        return GradientAccumulationScheduler({1: 2})


class TestLambdaCallback(CallbackContract):
    @pytest.fixture
    def callback(self) -> Callback:
        return LambdaCallback(on_train_batch_end=lambda *args: None)


class TestLearningRateFinder(CallbackContract):
    @pytest.fixture
    def callback(self) -> Callback:
        return LearningRateFinder()


class TestLearningRateMonitor(CallbackContract):
    @pytest.fixture
    def callback(self) -> Callback:
        return LearningRateMonitor()


class TestModelCheckpoint(CallbackContract):
    @pytest.fixture
    def callback(self, tmp_path: Path) -> Callback:
        return ModelCheckpoint(tmp_path, monitor="val_loss", save_top_k=3)


class TestModelSummary(CallbackContract):
    @pytest.fixture
    def callback(self) -> Callback:
        return ModelSummary()


class TestOnExceptionCheckpoint(CallbackContract):
    @pytest.fixture
    def callback(self, tmp_path: Path) -> Callback:
        return OnExceptionCheckpoint(tmp_path)


class TestProgressBar(CallbackContract):
    @pytest.fixture
    def callback(self) -> Callback:
        return ProgressBar()


class TestRichModelSummary(CallbackContract):
    @pytest.fixture
    def callback(self) -> Callback:
        return RichModelSummary()


class TestRichProgressBar(CallbackContract):
    @pytest.fixture
    def callback(self) -> Callback:
        return RichProgressBar()


class TestSpikeDetection(CallbackContract):
    @pytest.fixture
    def callback(self, tmp_path: Path) -> Callback:
        return SpikeDetection(exclude_batches_path=tmp_path)


class TestThroughputMonitor(CallbackContract):
    @pytest.fixture
    def callback(self) -> Callback:
        return ThroughputMonitor(len)


class TestTimer(CallbackContract):
    @pytest.fixture
    def callback(self) -> Callback:
        return Timer({"minutes": 1})


class TestTQDMProgressBar(CallbackContract):
    @pytest.fixture
    def callback(self) -> Callback:
        return TQDMProgressBar()


def test_every_callback_for_users_is_held_to_the_contract() -> None:
    offered = {name for name in lt_callbacks.__all__ if issubclass(vars(lt_callbacks)[name], Callback)}
    without_behaviour = {"Callback", "Checkpoint"}
    assert {f"Test{name}" for name in offered - without_behaviour} <= set(globals())


class TestRoles(RoleContract):
    """Every callback with a role offers what that role promises."""

    @pytest.fixture(
        params=[
            ModelCheckpoint,
            lambda: OnExceptionCheckpoint("failed"),
            lambda: EarlyStopping("val_loss"),
            RichProgressBar,
            TQDMProgressBar,
            ModelSummary,
            RichModelSummary,
            Timer,
            BatchSizeFinder,
            LearningRateFinder,
        ]
    )
    def part(self, request: pytest.FixtureRequest) -> Callback:
        made: Callback = request.param()
        return made
