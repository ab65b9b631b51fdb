"""Loggers for the lt training framework: CSV files, TensorBoard, and trackers in extras."""

from lt_interfaces.logger import Logger
from lt_loggers.comet import CometLogger
from lt_loggers.csv import CSVLogger
from lt_loggers.dummy import DummyExperiment, DummyLogger
from lt_loggers.experiment import rank_zero_experiment
from lt_loggers.merging import merge_dicts
from lt_loggers.mlflow import MLFlowLogger
from lt_loggers.tensorboard import TensorBoardLogger
from lt_loggers.wandb import WandbLogger

__all__ = [
    "CSVLogger",
    "CometLogger",
    "DummyExperiment",
    "DummyLogger",
    "Logger",
    "MLFlowLogger",
    "TensorBoardLogger",
    "WandbLogger",
    "merge_dicts",
    "rank_zero_experiment",
]
