"""Which rows of the page "Differences from Lightning" belong to a name, an argument or a method.

The rows themselves are in `differences.json`, copied from `docs/explanation/differences.md` by
`python tools/copy_differences.py`, which a test compares.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final


@dataclass(frozen=True, slots=True)
class Difference:
    """One row of the page."""

    title: str
    lt: str
    """What lt does."""
    switch: str
    """How to get Lightning's way; ``""``: there's none."""


def of_name(name: str) -> tuple[Difference, ...]:
    """Return what differs wherever a class or function is used, whatever its arguments.

    >>> [difference.title for difference in of_name("EarlyStopping")]
    ['`EarlyStopping(patience=...)` changed between runs']
    """
    return _rows(NAMES.get(name, ()))


def of_argument(name: str, keyword: str) -> tuple[Difference, ...]:
    """Return what differs where a class or function is called with an argument."""
    return _rows(ARGUMENTS.get(name, {}).get(keyword, ()))


def of_method(name: str) -> tuple[Difference, ...]:
    """Return what differs where a class of the user's overrides a method of Lightning's."""
    return _rows(METHODS.get(name, ()))


@cache
def _page() -> Mapping[str, Mapping[str, str]]:
    page: Mapping[str, Mapping[str, str]] = json.loads(
        files("lt_compat").joinpath("differences.json").read_text("utf-8")
    )
    return page


def _rows(titles: Iterable[str]) -> tuple[Difference, ...]:
    return tuple(Difference(title, **_page()[title]) for title in titles)


def titles() -> list[str]:
    """Return the titles of all rows that belong to something, each once."""
    arguments = [rows for by_keyword in ARGUMENTS.values() for rows in by_keyword.values()]
    return list(dict.fromkeys(title for rows in [*NAMES.values(), *arguments, *METHODS.values()] for title in rows))


_CLIPPING: Final = ("Clipping by norm under sharding",)
_FOLDERS: Final = ("Folders of loggers",)
_FSDP: Final = (
    "The engine of `FSDPStrategy`",
    "Units under `FSDPStrategy` without `auto_wrap_policy`",
    "Modules made in `configure_model` under `FSDPStrategy`",
)
_SLURM: Final = (
    "SLURM: several tasks asked for, script started without `srun`",
    "SLURM: `srun` with several tasks from an interactive shell (`salloc`)",
    "SLURM: `mpirun` within a job",
    "SLURM: which jobs are queued again",
)

_LEARNING_RATES: Final = (
    "A loss below 0 while learning rates are tried",
    "Data with less steps than `num_training` within `max_epochs`",
)
_BATCH_SIZES: Final = ("Batch sizes that weren't tried", "Loaders that don't follow the batch size")

_AVERAGING: Final = (
    "`weights_only=True` with `WeightAveraging`",
    "Which epochs `WeightAveraging` has updated after",
    "`WeightAveraging` under FSDP, tensor parallelism and DeepSpeed",
)
_FINETUNING: Final = (
    "Unfreezing with `BaseFinetuning` on several ranks with DDP",
    "Resuming after `BaseFinetuning` has unfrozen something",
    "A second `fit` after `BaseFinetuning` has unfrozen something",
    "`BaseFinetuning` in `validate`, `test` and `predict`",
)
_HALF_ON_CPU: Final = ('`precision="16-mixed"` on a CPU',)
_HOOK_GROUPS: Final = ("`ModelHooks`, `DataHooks`, `CheckpointHooks`",)

NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "AsyncCheckpointIO": (
        "Failure of an asynchronous save",
        "Removing a checkpoint while an asynchronous save is under way",
    ),
    "BackboneFinetuning": (
        *_FINETUNING,
        "`BackboneFinetuning` when the optimizer holds the backbone from the start",
        "`BackboneFinetuning` with several optimizers",
    ),
    "BaseFinetuning": _FINETUNING,
    "BasePredictionWriter": (
        "`batch_indices` of `BasePredictionWriter` with a batch sampler that is a list, or `batch_size=None`",
        "`batch_indices` with `DataLoader(in_order=False)` and workers",
    ),
    "BatchSizeFinder": (
        *_BATCH_SIZES,
        "Resuming with a finder among the callbacks",
        "Trying batch sizes in validation, test or prediction",
        "Trying batch sizes after training has started (`on_train_epoch_start`)",
    ),
    "BitsandbytesPrecision": ("Quantised weights",),
    "CSVLogger": (*_FOLDERS, "`metrics.csv` in a folder that's used again"),
    "CheckpointHooks": _HOOK_GROUPS,
    "CombinedLoader": ("A loader in `max_size_cycle` that can be read only once",),
    "CometLogger": ("`CometLogger`", "A second `CometLogger` without a key"),
    "DataHooks": _HOOK_GROUPS,
    "DeviceStatsMonitor": (
        "`DeviceStatsMonitor` in `validate` and `test`",
        "`DeviceStatsMonitor` in the validation of `fit`",
        "Where `DeviceStatsMonitor` and `ThroughputMonitor` log the end of a training batch",
        "Statistics of `DeviceStatsMonitor` and rates of `ThroughputMonitor` in `callback_metrics`",
    ),
    "EMAWeightAveraging": _AVERAGING,
    "EarlyStopping": ("`EarlyStopping(patience=...)` changed between runs",),
    "FSDPStrategy": _FSDP,
    "getLogger": ("The logger that messages go to",),
    "GradientAccumulationScheduler": (
        "`GradientAccumulationScheduler` and a resume in mid-epoch",
        "`estimated_stepping_batches` with `GradientAccumulationScheduler`",
        "The dict given to `GradientAccumulationScheduler`",
        "A second `fit` with `GradientAccumulationScheduler`",
    ),
    "KubeflowEnvironment": ("`KubeflowEnvironment.detect()`",),
    "LambdaCallback": ("`LambdaCallback` with a misspelt hook",),
    "LSFEnvironment": ("SLURM and LSF: the port of a job",),
    "LearningRateFinder": (
        *_LEARNING_RATES,
        "The learning rate found by a `LearningRateFinder` among the callbacks",
        "Resuming with a finder among the callbacks",
    ),
    "LearningRateMonitor": ("What `LearningRateMonitor` logs",),
    "MLFlowLogger": (
        "`MLFLOW_TRACKING_URI`",
        "`name` and `version` of `MLFlowLogger`",
        "Hyper-parameters that differ when MLflow's run is continued",
        "Long hyper-parameters for MLflow",
    ),
    "MPIEnvironment": ("Jobs of MPI",),
    "MisconfigurationException": ("`MisconfigurationException`",),
    "ModelCheckpoint": (
        "A checkpoint can't be written (no permission, disk full)",
        "When checkpoint callbacks hear `on_train_batch_end` and `on_validation_end`",
        "Order of saving and deleting in `ModelCheckpoint`",
        "`ModelCheckpoint` and manual optimization",
    ),
    "ModelHooks": _HOOK_GROUPS,
    "ModelSummary": ("Sizes in the model summary",),
    "OnExceptionCheckpoint": (
        "`fit` without `ckpt_path`, with `OnExceptionCheckpoint`",
        "What `OnExceptionCheckpoint` does in `validate`, `test`, `predict`, `fast_dev_run`, or when `setup` fails",
        "`OnExceptionCheckpoint` with several processes",
    ),
    "RichModelSummary": ("Sizes in the model summary",),
    "RichProgressBar": ("Metrics in the bar", "Without a terminal"),
    "SLURMEnvironment": _SLURM,
    "TQDMProgressBar": ("Metrics in the bar", "Without a terminal"),
    "Tuner": (*_LEARNING_RATES, *_BATCH_SIZES, "Trying batch sizes in validation, test or prediction"),
    "WandbLogger": (
        "`version` of `WandbLogger`",
        "A second `WandbLogger` in a program that hasn't called `wandb.finish()`",
        "Hyper-parameters that wandb has no type for",
    ),
    "WeightAveraging": _AVERAGING,
    "TensorBoardLogger": (*_FOLDERS, "`hp_metric=-1` of `TensorBoardLogger`"),
}
"""Rows by the name of a class or function."""

ARGUMENTS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "CSVLogger": {"flush_logs_every_n_steps": ("`flush_logs_every_n_steps`",)},
    "DDPStrategy": {
        "find_unused_parameters": ("`find_unused_parameters` in manual optimization with several optimizers",)
    },
    "FSDPStrategy": {
        "ignored_states": ("Parameters in `ignored_states` that are trained",),
        "mixed_precision": ('FSDP with `"16-mixed"`',),
        "state_dict_type": ("One `state_dict_type` for Trainer and Fabric",),
    },
    "ModelCheckpoint": {
        "dirpath": ("A run directory that was moved, or another `dirpath`",),
        "every_n_train_steps": ("`every_n_train_steps` with several steps per batch",),
        "filename": (
            "A metric in `ModelCheckpoint(filename=...)` that wasn't logged",
            "A `/` in a metric's name in a file name",
        ),
        "monitor": ("A save that waits for a metric of validation",),
        "save_last": ("`save_last=True` of `ModelCheckpoint`",),
    },
    "Fabric": {"precision": _HALF_ON_CPU},
    "Trainer": {
        "accumulate_grad_batches": (
            "Last, shorter accumulation window of an epoch",
            '`outputs["loss"]` in `on_train_batch_end`',
            "Request to stop in the middle of an accumulation window",
        ),
        "deterministic": ("`deterministic=True`",),
        "gradient_clip_val": _CLIPPING,
        "precision": _HALF_ON_CPU,
        "model_registry": ("LayerSync plugins, `model_registry`",),
    },
    "seed_everything": {"": ("`seed_everything()` without a seed",)},
}
"""Rows by a class or function and an argument of it; ``""`` stands for a call without arguments."""

MISSPELT: Final = "<misspelt>"
"""Stands among methods for one that's nearly called like a hook."""

METHODS: Final[Mapping[str, tuple[str, ...]]] = {
    "configure_gradient_clipping": (
        "`gradient_clip_algorithm` that `configure_gradient_clipping` gets when the Trainer got none",
    ),
    "configure_model": ("Modules made in `configure_model` under `FSDPStrategy`",),
    "on_fit_end": ("`on_fit_end` and `teardown`",),
    "on_load_checkpoint": ("A file without callback states, or without Lightning's version key",),
    "on_save_checkpoint": ("What hooks add to a checkpoint",),
    "optimizer_step": (
        "A module's `optimizer_step` that doesn't step",
        "Gradients and the optimizer's step hooks",
    ),
    MISSPELT: ("Misspelt hook (`on_trian_start`)",),
    "teardown": ("`on_fit_end` and `teardown`", "`teardown` after an exception"),
}
"""Rows by a method that users override."""
