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

NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "AsyncCheckpointIO": (
        "Failure of an asynchronous save",
        "Removing a checkpoint while an asynchronous save is under way",
    ),
    "BatchSizeFinder": (
        *_BATCH_SIZES,
        "Resuming with a finder among the callbacks",
        "Trying batch sizes in validation, test or prediction",
        "Trying batch sizes after training has started (`on_train_epoch_start`)",
    ),
    "BitsandbytesPrecision": ("Quantised weights",),
    "CSVLogger": (*_FOLDERS, "`metrics.csv` in a folder that's used again"),
    "CombinedLoader": ("A loader in `max_size_cycle` that can be read only once",),
    "EarlyStopping": ("`EarlyStopping(patience=...)` changed between runs",),
    "FSDPStrategy": _FSDP,
    "getLogger": ("The logger that messages go to",),
    "KubeflowEnvironment": ("`KubeflowEnvironment.detect()`",),
    "LambdaCallback": ("`LambdaCallback` with a misspelt hook",),
    "LSFEnvironment": ("SLURM and LSF: the port of a job",),
    "LearningRateFinder": (
        *_LEARNING_RATES,
        "The learning rate found by a `LearningRateFinder` among the callbacks",
        "Resuming with a finder among the callbacks",
    ),
    "LearningRateMonitor": ("What `LearningRateMonitor` logs",),
    "MPIEnvironment": ("Jobs of MPI",),
    "MisconfigurationException": ("`MisconfigurationException`",),
    "ModelCheckpoint": (
        "A checkpoint can't be written (no permission, disk full)",
        "When checkpoint callbacks hear `on_train_batch_end` and `on_validation_end`",
        "Order of saving and deleting in `ModelCheckpoint`",
        "`ModelCheckpoint` and manual optimization",
    ),
    "ModelSummary": ("Sizes in the model summary",),
    "RichModelSummary": ("Sizes in the model summary",),
    "RichProgressBar": ("Metrics in the bar", "Without a terminal"),
    "SLURMEnvironment": _SLURM,
    "TQDMProgressBar": ("Metrics in the bar", "Without a terminal"),
    "Tuner": (*_LEARNING_RATES, *_BATCH_SIZES, "Trying batch sizes in validation, test or prediction"),
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
    "Trainer": {
        "accumulate_grad_batches": (
            "Last, shorter accumulation window of an epoch",
            '`outputs["loss"]` in `on_train_batch_end`',
            "Request to stop in the middle of an accumulation window",
        ),
        "deterministic": ("`deterministic=True`",),
        "gradient_clip_val": _CLIPPING,
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
