"""Lightning's file format, translated at this boundary; inside, only our own types.

Facts of the format: a dict with ``epoch``, ``global_step``, ``pytorch-lightning_version``, ``state_dict``, ``loops``
and, unless it's for weights only, ``callbacks``, ``optimizer_states`` and ``lr_schedulers``. What exact resume needs
beyond that is under our own key ``lt``.
"""

from collections.abc import Mapping
from typing import Any, Final

from lt_interfaces.progress import FitProgress
from lt_interfaces.rank_zero import rank_zero_warn

WRITTEN_AS: Final = "2.6.0"
"""The version of Lightning whose format we write."""
VERSION_KEY: Final = "pytorch-lightning_version"
OWN_KEY: Final = "lt"
_EVALUATING: Final = ("validate", "test", "predict")
_STEP: Final = ["ready", "completed"]
OWN_FORMAT: Final = 1
"""Version of what's under `OWN_KEY`."""


def loops_from(progress: FitProgress) -> dict[str, Any]:
    """Return the progress in Lightning's nested counters.

    Steps per epoch and steps of schedulers aren't among our counters and Lightning decides nothing on them: they're 0.
    """
    steps = progress.global_step
    return {
        "fit_loop": {
            "state_dict": {},
            "epoch_loop.state_dict": {"_batches_that_stepped": progress.batches_that_stepped - _is_step_open(progress)},
            "epoch_loop.batch_progress": _batches_of(progress),
            "epoch_loop.scheduler_progress": _pair(_STEP, 0),
            "epoch_loop.automatic_optimization.state_dict": {},
            "epoch_loop.automatic_optimization.optim_progress": {
                "optimizer": {"step": _pair(_STEP, steps), "zero_grad": _pair(["ready", "started", "completed"], steps)}
            },
            "epoch_loop.manual_optimization.state_dict": {},
            "epoch_loop.manual_optimization.optim_step_progress": _pair(_STEP, steps),
            "epoch_loop.val_loop.state_dict": {},
            "epoch_loop.val_loop.batch_progress": _no_batches(),
            "epoch_progress": {"total": _epochs(progress), "current": _epochs(progress)},
        },
        **{f"{name}_loop": {"state_dict": {}, "batch_progress": _no_batches()} for name in _EVALUATING},
    }


def progress_from(checkpoint: Mapping[str, Any], num_optimizers: int) -> FitProgress:
    """Return the progress that a file holds, ours or Lightning's."""
    progress = FitProgress(steps=[0] * num_optimizers)
    own = checkpoint.get(OWN_KEY)
    if own is not None and "progress" in own:
        progress.load_state_dict(own["progress"])
        return progress
    loop = checkpoint.get("loops", {}).get("fit_loop", {})
    epochs = loop.get("epoch_progress", {}).get("current", {})
    batches = loop.get("epoch_loop.batch_progress", {})
    # An epoch that was ending is over: the metrics that schedulers might still look at aren't in the file.
    progress.epochs_processed = progress.epochs_completed = int(epochs.get("processed", checkpoint.get("epoch", 0)))
    progress.batches = int(batches.get("total", {}).get("processed", 0))
    # Lightning counts the steps of all optimizers together.
    progress.steps[:1] = [int(checkpoint.get("global_step", 0))]
    progress.batches_that_stepped = int(
        loop.get("epoch_loop.state_dict", {}).get("_batches_that_stepped", progress.global_step)
    )
    if epochs.get("started", 0) > progress.epochs_processed:
        _go_on_within_epoch(progress, loop)
    return progress


def _go_on_within_epoch(progress: FitProgress, loop: Mapping[str, Any]) -> None:
    """Take over how far Lightning was in an epoch that hasn't ended."""
    batches = loop["epoch_loop.batch_progress"]
    current = batches["current"]
    progress.batches_in_epoch = int(current["processed"])
    progress.is_last_batch = progress.batches_in_epoch > 0 and bool(batches["is_last_batch"])
    # After the last batch validation comes (again): who acts when the epoch ends looks at its metrics.
    progress.is_batch_open = progress.is_last_batch or current["completed"] < current["processed"]
    if progress.is_batch_open:
        progress.batches_that_stepped += _is_step_uncounted(progress, loop)
    if progress.batches_in_epoch and not progress.is_last_batch:
        rank_zero_warn(
            f"The checkpoint was saved by Lightning in the middle of an epoch, after {progress.batches_in_epoch} of its"
            " batches. Training goes on with the batch after them, but the state of the random generators and what was"
            " logged so far aren't in the file: shuffling, dropout, augmentations and the epoch's means differ from an"
            " uninterrupted run's."
        )


def _is_step_uncounted(progress: FitProgress, loop: Mapping[str, Any]) -> bool:
    """Say whether the last batch stepped: Lightning counts that when all its hooks are over."""
    manual = loop.get("epoch_loop.manual_optimization.optim_step_progress", {})
    automatic = loop.get("epoch_loop.automatic_optimization.optim_progress", {}).get("optimizer", {}).get("step", {})
    if _total(manual) and not _total(automatic):
        return True  # there, every batch counts as one that stepped
    return progress.batches_that_stepped < progress.global_step


def _total(counters: Mapping[str, Any]) -> int:
    return int(counters.get("total", {}).get("completed", 0))


def _is_step_open(progress: FitProgress) -> bool:
    return progress.is_batch_open and progress.last_batch_stepped


def _batches_of(progress: FitProgress) -> dict[str, Any]:
    """Return the counters of micro-batches; one counts as completed when ``on_train_batch_end`` is over."""
    is_ending = progress.is_batch_open and progress.validated_at != progress.batches
    both = {}
    for name, count in (("total", progress.batches), ("current", progress.batches_in_epoch)):
        both[name] = {"ready": count, "started": count, "processed": count, "completed": count - is_ending}
    return {**both, "is_last_batch": progress.is_last_batch}


def _epochs(progress: FitProgress) -> dict[str, int]:
    processed = progress.epochs_processed
    started = max(processed, progress.epochs_completed + (progress.batches_in_epoch > 0))
    return {"ready": started, "started": started, "processed": processed, "completed": progress.epochs_completed}


def _no_batches() -> dict[str, Any]:
    return {**_pair(["ready", "started", "processed", "completed"], 0), "is_last_batch": False}


def _pair(names: list[str], total: int) -> dict[str, dict[str, int]]:
    return {"total": dict.fromkeys(names, total), "current": dict.fromkeys(names, 0)}
