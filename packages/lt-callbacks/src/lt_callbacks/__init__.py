"""Callbacks: checkpoints, early stopping, learning rates, progress, summaries, time."""

from lt_callbacks.backbone_finetuning import BackboneFinetuning
from lt_callbacks.batch_size_finder import BatchSizeFinder
from lt_callbacks.checkpoint import Checkpoint
from lt_callbacks.device_stats_monitor import DeviceStatsMonitor
from lt_callbacks.early_stopping import EarlyStopping
from lt_callbacks.finetuning import BaseFinetuning
from lt_callbacks.gradient_accumulation_scheduler import GradientAccumulationScheduler
from lt_callbacks.lambda_callback import LambdaCallback
from lt_callbacks.learning_rate_finder import LearningRateFinder
from lt_callbacks.learning_rate_monitor import LearningRateMonitor
from lt_callbacks.learning_rate_search import LearningRateSearch
from lt_callbacks.model_checkpoint import ModelCheckpoint
from lt_callbacks.model_summary_printer import ModelSummary, RichModelSummary
from lt_callbacks.on_exception_checkpoint import OnExceptionCheckpoint
from lt_callbacks.prediction_writer import BasePredictionWriter, WriteInterval
from lt_callbacks.progress_bar import ProgressBar
from lt_callbacks.rich_progress_bar import RichProgressBar
from lt_callbacks.rich_theme import RichProgressBarTheme
from lt_callbacks.spike_detection import SpikeDetection
from lt_callbacks.throughput_monitor import ThroughputMonitor
from lt_callbacks.timer import Timer
from lt_callbacks.tqdm_progress_bar import TQDMProgressBar
from lt_callbacks.tuner import Tuner
from lt_callbacks.weight_averaging import EMAWeightAveraging, WeightAveraging
from lt_interfaces.callback import Callback

__all__ = [
    "BackboneFinetuning",
    "BaseFinetuning",
    "BasePredictionWriter",
    "BatchSizeFinder",
    "Callback",
    "Checkpoint",
    "DeviceStatsMonitor",
    "EMAWeightAveraging",
    "EarlyStopping",
    "GradientAccumulationScheduler",
    "LambdaCallback",
    "LearningRateFinder",
    "LearningRateMonitor",
    "LearningRateSearch",
    "ModelCheckpoint",
    "ModelSummary",
    "OnExceptionCheckpoint",
    "ProgressBar",
    "RichModelSummary",
    "RichProgressBar",
    "RichProgressBarTheme",
    "SpikeDetection",
    "TQDMProgressBar",
    "ThroughputMonitor",
    "Timer",
    "Tuner",
    "WeightAveraging",
    "WriteInterval",
]
