"""Callbacks."""

from typing import Final

from lt_compat.names.entries import Names, missing, owned

_LATER = "lt-callbacks doesn't have it yet."
_AVERAGING = f"{_LATER} `WeightAveraging` averages weights; `torch.optim.swa_utils.SWALR` sets the learning rate."
_TQDM = owned("lt_callbacks", "TQDMProgressBar")
_RICH = owned("lt_callbacks", "RichProgressBar", "RichProgressBarTheme")
_BASE = owned("lt_callbacks", "ProgressBar")

_FINETUNING = owned("lt_callbacks", "BaseFinetuning", "BackboneFinetuning")
_WRITER = owned("lt_callbacks", "BasePredictionWriter")
_ACCUMULATION = owned("lt_callbacks", "GradientAccumulationScheduler")
_ON_EXCEPTION = owned("lt_callbacks", "OnExceptionCheckpoint")
_STATS = owned("lt_callbacks", "DeviceStatsMonitor")
_PRUNING = missing(_LATER + " `torch.nn.utils.prune` in `on_train_epoch_end` prunes.", "ModelPruning")
_SPIKES = owned("lt_callbacks", "SpikeDetection")
_THROUGHPUT = owned("lt_callbacks", "ThroughputMonitor")
_BATCH_SIZE = owned("lt_callbacks", "BatchSizeFinder")
_LR = owned("lt_callbacks", "LearningRateFinder")
_SWA = missing(_AVERAGING, "StochasticWeightAveraging")
_WEIGHTS = owned("lt_callbacks", "EMAWeightAveraging", "WeightAveraging")

MODULES: Final[dict[str, Names]] = {
    "pytorch.callbacks": owned(
        "lt_callbacks",
        "Callback",
        "Checkpoint",
        "EarlyStopping",
        "LambdaCallback",
        "LearningRateMonitor",
        "ModelCheckpoint",
        "ModelSummary",
        "ProgressBar",
        "RichModelSummary",
        "RichProgressBar",
        "TQDMProgressBar",
        "Timer",
    )
    | _FINETUNING
    | _WRITER
    | _ACCUMULATION
    | _ON_EXCEPTION
    | _STATS
    | _PRUNING
    | _SPIKES
    | _THROUGHPUT
    | _BATCH_SIZE
    | _LR
    | _SWA
    | _WEIGHTS,
    "pytorch.callbacks.batch_size_finder": _BATCH_SIZE,
    "pytorch.callbacks.callback": owned("lt_callbacks", "Callback"),
    "pytorch.callbacks.checkpoint": owned("lt_callbacks", "Checkpoint"),
    "pytorch.callbacks.device_stats_monitor": _STATS,
    "pytorch.callbacks.early_stopping": owned("lt_callbacks", "EarlyStopping")
    | owned("lt_callbacks.stopping_rule", "EarlyStoppingReason"),
    "pytorch.callbacks.finetuning": _FINETUNING | owned("lt_callbacks.backbone_finetuning", "multiplicative"),
    "pytorch.callbacks.gradient_accumulation_scheduler": _ACCUMULATION,
    "pytorch.callbacks.lambda_function": owned("lt_callbacks", "LambdaCallback"),
    "pytorch.callbacks.lr_finder": _LR,
    "pytorch.callbacks.lr_monitor": owned("lt_callbacks", "LearningRateMonitor"),
    "pytorch.callbacks.model_checkpoint": owned("lt_callbacks", "ModelCheckpoint"),
    "pytorch.callbacks.model_summary": owned("lt_callbacks", "ModelSummary"),
    "pytorch.callbacks.on_exception_checkpoint": _ON_EXCEPTION,
    "pytorch.callbacks.prediction_writer": _WRITER | owned("lt_callbacks", "WriteInterval"),
    "pytorch.callbacks.progress": _BASE | _TQDM | _RICH,
    "pytorch.callbacks.progress.progress_bar": _BASE
    | missing("`ProgressBar.get_metrics` returns what a bar shows.", "get_standard_metrics"),
    "pytorch.callbacks.progress.rich_progress": _RICH
    | owned(
        "lt_callbacks.rich_display",
        BatchesProcessedColumn="BatchesColumn",
        CustomTimeColumn="TimeColumn",
        MetricsTextColumn="MetricsColumn",
        ProcessingSpeedColumn="SpeedColumn",
    )
    | missing(
        "`RichProgressBar.configure_columns` returns any of rich's columns.",
        "CustomBarColumn",
        "CustomInfiniteTask",
        "CustomProgress",
    ),
    "pytorch.callbacks.progress.tqdm_progress": _TQDM
    | missing("The bar is an ordinary `tqdm.tqdm`; override `TQDMProgressBar`'s hooks.", "Tqdm", "convert_inf"),
    "pytorch.callbacks.pruning": _PRUNING,
    "pytorch.callbacks.rich_model_summary": owned("lt_callbacks", "RichModelSummary"),
    "pytorch.callbacks.spike": _SPIKES,
    "pytorch.callbacks.stochastic_weight_avg": _SWA,
    "pytorch.callbacks.throughput_monitor": _THROUGHPUT,
    "pytorch.callbacks.timer": owned("lt_callbacks", "Timer") | owned("lt_callbacks.timer", "Interval"),
    "pytorch.callbacks.weight_averaging": _WEIGHTS,
}
