"""Where ``ckpt_path`` leads: "best", "last", "hpc", a path, or nothing."""

import re
from collections.abc import Iterable
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from lt_interfaces.commit import is_whole
from lt_interfaces.rank_zero import rank_zero_warn
from lt_interfaces.roles import Role
from lt_interfaces.states import TrainerFn

CkptPath = str | PathLike[str] | None

_LAST = re.compile(r"last(-v?\d+)?\.ckpt$")
_HPC = re.compile(r"hpc_ckpt_(\d+)\.ckpt$")


def resolve_ckpt_path(
    given: CkptPath,
    fn: TrainerFn,
    *,
    callbacks: Iterable[Any],
    default_root_dir: str,
    has_model: bool,
    fast_dev_run: bool,
) -> str | None:
    """Return the path to load, ``None`` to load nothing.

    Args:
        given: what the user passed.
        fn: the entry point.
        callbacks: the Trainer's.
        default_root_dir: where ``hpc_ckpt_<n>.ckpt`` files are.
        has_model: whether the user passed a model to this call; without one, evaluation loads the best checkpoint.
        fast_dev_run: whether checkpoints aren't written at all.

    Raises:
        ValueError: when there's no such checkpoint, or the path is empty.
    """
    checkpointers = [callback for callback in callbacks if getattr(callback, "role", None) is Role.CHECKPOINT]
    if given is None:
        if has_model or fn is TrainerFn.FITTING:
            return None
        given = _implicit_best(checkpointers)
        if given is None:
            return None
    if fspath(given) == "":
        message = "`ckpt_path` is empty; pass a path, 'best', 'last', 'hpc' or None."
        raise ValueError(message)
    if given == "best":
        return _best(checkpointers, fast_dev_run)
    if given == "last":
        return _last(checkpointers, fn)
    if given == "hpc":
        return _hpc(Path(default_root_dir))
    return fspath(given)


def _implicit_best(checkpointers: list[Any]) -> str | None:
    """Return "best" where evaluating without a model has a best checkpoint to load."""
    if any(getattr(callback, "best_model_path", "") for callback in checkpointers):
        rank_zero_warn(
            "No model was passed, so the best checkpoint of the last fit is evaluated. Say so by `ckpt_path='best'`, or"
            " pass the model to evaluate it as it is now."
        )
        return "best"
    return None


def _best(checkpointers: list[Any], fast_dev_run: bool) -> str:
    if not checkpointers:
        message = "`ckpt_path='best'` needs a checkpoint callback, such as `ModelCheckpoint`, in the Trainer."
        raise ValueError(message)
    if len(checkpointers) > 1:
        rank_zero_warn("`ckpt_path='best'`: there are several checkpoint callbacks; the first one's best is loaded.")
    path = getattr(checkpointers[0], "best_model_path", "")
    if not path:
        why = " under `fast_dev_run`, which saves none" if fast_dev_run else ""
        message = f"`ckpt_path='best'`: no best checkpoint was saved{why}. Fit first, or pass a path."
        raise ValueError(message)
    return str(path)


def _last(checkpointers: list[Any], fn: TrainerFn) -> str | None:
    """Return the newest whole checkpoint; torn ones are skipped with a word.

    A first fit has none yet and starts anew; anything else that asks for one and finds none is an error.
    """
    folders = {Path(callback.dirpath) for callback in checkpointers if getattr(callback, "dirpath", None)}
    found = [path for folder in folders if folder.is_dir() for path in folder.iterdir() if _LAST.match(path.name)]
    for path in sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        if is_whole(path):
            return str(path)
        rank_zero_warn(f"`ckpt_path='last'`: {path} isn't a whole checkpoint and is skipped.")
    where = sorted(map(str, folders)) or "any folder, as no checkpoint callback has one"
    if found or fn is not TrainerFn.FITTING:
        message = f"`ckpt_path='last'`: there's no whole checkpoint in {where}. Pass the path of one."
        raise ValueError(message)
    rank_zero_warn(f"`ckpt_path='last'`: there's no checkpoint in {where} yet; training starts anew.")
    return None


def _hpc(root: Path) -> str:
    numbered = [(int(match[1]), path) for path in root.glob("hpc_ckpt_*.ckpt") if (match := _HPC.match(path.name))]
    if not numbered:
        message = f"`ckpt_path='hpc'`: there's no `hpc_ckpt_<n>.ckpt` in {root}."
        raise ValueError(message)
    return str(max(numbered)[1])
