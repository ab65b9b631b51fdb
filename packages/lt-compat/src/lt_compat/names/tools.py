"""Profilers, tuner, command line, demos: what stands beside the Trainer."""

from typing import Final

from lt_compat.names.entries import Names, missing, owned

_NO_PROFILER = (
    "lt-profilers isn't there yet. "
    "Use `torch.profiler.profile` around `trainer.fit`, or pass an `lt_interfaces.Profiler`."
)
_PROFILER = owned("lt_compat.base_classes", "Profiler")
_ADVANCED = missing(_NO_PROFILER, "AdvancedProfiler")
_PASS = owned("lt_core.profiling", "PassThroughProfiler")
_TORCH = missing(_NO_PROFILER, "PyTorchProfiler")
_IN_TORCH = missing(
    "`torch.profiler.record_function` and `schedule` do this.", "RegisterRecordFunction", "ScheduleWrapper"
)
_SIMPLE = missing(_NO_PROFILER, "SimpleProfiler")
_XLA = missing("lt doesn't run on TPUs: profile by `torch.profiler.profile`.", "XLAProfiler")

_TUNER = owned("lt_compat.tuner", "Tuner")
_NO_CLI = "lt-cli isn't there yet. `jsonargparse.CLI` builds a command line from your own function."

_BORING = owned("lt_compat.demos.boring_classes", "BoringDataModule", "BoringModel", "DemoModel")
_LSTM = owned("lt_compat.demos.lstm", "LightningLSTM", "SequenceSampler", "SimpleLSTM")
_TRANSFORMER = owned("lt_compat.demos.transformer", "LightningTransformer", "Transformer", "WikiText2")

MODULES: Final[dict[str, Names]] = {
    "pytorch.profilers": _PROFILER | _ADVANCED | _PASS | _TORCH | _SIMPLE | _XLA,
    "pytorch.profilers.advanced": _ADVANCED,
    "pytorch.profilers.base": _PASS,
    "pytorch.profilers.profiler": _PROFILER,
    "pytorch.profilers.pytorch": _TORCH | _IN_TORCH,
    "pytorch.profilers.simple": _SIMPLE,
    "pytorch.profilers.xla": _XLA,
    "pytorch.tuner": _TUNER,
    "pytorch.tuner.lr_finder": owned("lt_callbacks", _LRFinder="LearningRateSearch"),
    "pytorch.tuner.tuning": _TUNER,
    "pytorch.cli": missing(
        _NO_CLI,
        "ArgsType",
        "LRSchedulerCallable",
        "LightningArgumentParser",
        "LightningCLI",
        "OptimizerCallable",
        "ReduceLROnPlateau",
        "SaveConfigCallback",
        "instantiate_class",
        "instantiate_module",
    ),
    "pytorch.demos": _BORING | _LSTM | _TRANSFORMER,
    "pytorch.demos.boring_classes": _BORING
    | owned(
        "lt_compat.demos.boring_classes",
        "BoringDataModuleNoLen",
        "IterableBoringDataModule",
        "ManualOptimBoringModel",
        "Net",
        "RandomDataset",
        "RandomDictDataset",
        "RandomIterableDataset",
        "RandomIterableDatasetWithLen",
    ),
    "pytorch.demos.lstm": _LSTM,
    "pytorch.demos.mnist_datamodule": missing(
        "`lt_datamodules.DigitsDataModule` brings small images of digits without a download.",
        "MNIST",
        "MNISTDataModule",
    ),
    "pytorch.demos.transformer": _TRANSFORMER
    | owned("lt_compat.demos.transformer", "Dictionary", "PositionalEncoding", "tokenize"),
    "fabric.cli": missing("Start several processes by `torchrun SCRIPT`, which Fabric takes part in.", "main"),
    "pytorch.serve": missing(
        "lt doesn't serve models: export by `to_onnx` or `torch.export`.", "ServableModule", "ServableModuleValidator"
    ),
}
