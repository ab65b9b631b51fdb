"""Lightning's file format, translated at this boundary; inside, only our own types.

Facts of the format: a dict with ``epoch``, ``global_step``, ``pytorch-lightning_version``, ``state_dict``, ``loops``
and, unless it's for weights only, ``callbacks``, ``optimizer_states`` and ``lr_schedulers``. What exact resume needs
beyond that is under our own key ``lt``.
"""

from collections.abc import Mapping
from typing import Any, Final

from lt_interfaces.progress import FitProgress

WRITTEN_AS: Final = "2.6.0"
"""The version of Lightning whose format we write."""
VERSION_KEY: Final = "pytorch-lightning_version"
OWN_KEY: Final = "lt"
_EVALUATING: Final = ("validate", "test", "predict")
_STEP: Final = ["ready", "completed"]
STANDARD_KEYS: Final = frozenset(
    {"epoch", "global_step", VERSION_KEY, "state_dict", "loops", "callbacks", "optimizer_states", "lr_schedulers"}
    | {"hparams_name", "hyper_parameters", "hparams_type", OWN_KEY}
    | {"datamodule_hparams_name", "datamodule_hyper_parameters", "datamodule_hparams_type"}
)
"""Keys whose content the format fixes; others were added by hooks or are states of a class's name."""
OWN_FORMAT: Final = 1
"""Version of what's under `OWN_KEY`."""


def loops_from(progress: FitProgress) -> dict[str, Any]:
    """Return the progress in Lightning's nested counters."""
    batch, total = progress.batches_in_epoch, progress.batches
    counted = {"ready": batch, "started": batch, "processed": batch, "completed": batch}
    return {
        "fit_loop": {
            "state_dict": {},
            "epoch_loop.state_dict": {"_batches_that_stepped": progress.batches_that_stepped},
            "epoch_loop.batch_progress": {
                "total": {"ready": total, "started": total, "processed": total, "completed": total},
                "current": counted,
                "is_last_batch": progress.is_last_batch,
            },
            "epoch_loop.scheduler_progress": _pair(_STEP, 0, 0),
            "epoch_loop.automatic_optimization.state_dict": {},
            "epoch_loop.automatic_optimization.optim_progress": {
                "optimizer": {
                    "step": _pair(_STEP, progress.global_step, progress.batches_that_stepped),
                    "zero_grad": _pair(["ready", "started", "completed"], progress.global_step, 0),
                }
            },
            "epoch_loop.manual_optimization.state_dict": {},
            "epoch_loop.manual_optimization.optim_step_progress": _pair(
                ["ready", "completed"], progress.global_step, 0
            ),
            "epoch_loop.val_loop.state_dict": {},
            "epoch_loop.val_loop.batch_progress": _batches(0),
            "epoch_progress": {
                "total": _epochs(progress),
                "current": _epochs(progress),
            },
        },
        **{
            f"{name}_loop": {"state_dict": {}, "batch_progress": _batches(0)}
            for name in ("validate", "test", "predict")
        },
    }


def progress_from(checkpoint: Mapping[str, Any], num_optimizers: int) -> FitProgress:
    """Return the progress that a file holds, ours or Lightning's."""
    progress = FitProgress(steps=[0] * num_optimizers)
    own = checkpoint.get(OWN_KEY)
    if own is not None:
        progress.load_state_dict(own["progress"])
        return progress
    loop = checkpoint.get("loops", {}).get("fit_loop", {})
    epochs = loop.get("epoch_progress", {}).get("current", {})
    batches = loop.get("epoch_loop.batch_progress", {})
    progress.epochs_completed = int(epochs.get("completed", checkpoint.get("epoch", 0)))
    progress.epochs_processed = int(epochs.get("processed", progress.epochs_completed))
    progress.batches = int(batches.get("total", {}).get("processed", 0))
    progress.batches_in_epoch = int(batches.get("current", {}).get("processed", 0))
    progress.is_last_batch = bool(batches.get("is_last_batch", False))
    begun = int(epochs.get("started", progress.epochs_completed + 1))
    if progress.batches_in_epoch and begun == progress.epochs_completed:
        progress.start_epoch()  # Lightning leaves an epoch's counters as they are until the next one begins
    stepped = loop.get("epoch_loop.state_dict", {}).get("_batches_that_stepped", checkpoint.get("global_step", 0))
    progress.batches_that_stepped = int(stepped)
    # Lightning counts the steps of all optimizers together.
    progress.steps[:1] = [int(checkpoint.get("global_step", 0))]
    return progress


def _epochs(progress: FitProgress) -> dict[str, int]:
    processed = progress.epochs_processed
    started = max(processed, progress.epochs_completed + (progress.batches_in_epoch > 0))
    return {"ready": started, "started": started, "processed": processed, "completed": progress.epochs_completed}


def _batches(count: int) -> dict[str, Any]:
    names = ["ready", "started", "processed", "completed"]
    return {**_pair(names, count, count), "is_last_batch": False}


def _pair(names: list[str], total: int, current: int) -> dict[str, dict[str, int]]:
    return {"total": dict.fromkeys(names, total), "current": dict.fromkeys(names, current)}
