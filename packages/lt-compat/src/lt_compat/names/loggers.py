"""Loggers."""

from typing import Final

from lt_compat.names.entries import Names, missing, owned

_CSV = owned("lt_loggers", "CSVLogger")
_TENSORBOARD = owned("lt_loggers", "TensorBoardLogger")
_WANDB = owned("lt_loggers", "WandbLogger")
_MLFLOW = owned("lt_loggers", "MLFlowLogger")
_COMET = owned("lt_loggers", "CometLogger")
_LIT = missing(
    "It belongs to a commercial service that can't be used offline. Use `TensorBoardLogger`, say, or `CSVLogger`.",
    "LitLogger",
)
_NEPTUNE = missing("Lightning has removed it, too: log to what `neptune.init_run` returns.", "NeptuneLogger")

MODULES: Final[dict[str, Names]] = {
    "pytorch.loggers": owned("lt_loggers", "Logger")
    | _CSV
    | _TENSORBOARD
    | _WANDB
    | _MLFLOW
    | _COMET
    | _LIT
    | _NEPTUNE,
    "pytorch.loggers.comet": _COMET,
    "pytorch.loggers.csv_logs": _CSV
    | missing("`CSVLogger` writes its files itself: `log_metrics`, then `save`.", "ExperimentWriter"),
    "pytorch.loggers.litlogger": _LIT,
    "pytorch.loggers.logger": owned("lt_loggers", "DummyLogger", "Logger", "merge_dicts", "rank_zero_experiment")
    | owned("lt_loggers", DummyExperiment="DummyExperiment"),
    "pytorch.loggers.mlflow": _MLFLOW,
    "pytorch.loggers.neptune": _NEPTUNE,
    "pytorch.loggers.tensorboard": _TENSORBOARD,
    "pytorch.loggers.wandb": _WANDB,
    "fabric.loggers": owned("lt_loggers", "Logger") | _CSV | _TENSORBOARD,
    "fabric.loggers.csv_logs": _CSV,
    "fabric.loggers.logger": owned("lt_loggers", "Logger", "rank_zero_experiment"),
    "fabric.loggers.tensorboard": _TENSORBOARD,
}
