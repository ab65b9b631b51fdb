"""Where ``ckpt_path`` leads: "best", "last", "hpc", a path or URL, or nothing."""

import re
from dataclasses import dataclass
from os import PathLike, fspath
from typing import Any

from lt_core.run.preemption import HPC, PREEMPTED
from lt_interfaces.checkpoint_io import CheckpointIO
from lt_interfaces.rank_zero import rank_zero_warn
from lt_interfaces.roles import Role
from lt_interfaces.states import TrainerFn

CkptPath = str | PathLike[str] | None

_LAST = r"last(-v?\d+)?\.ckpt"
_ANY = re.compile(r".+\.ckpt$")


@dataclass(frozen=True)
class CheckpointPlaces:
    """Where the checkpoints of a Trainer may be."""

    checkpoint_io: CheckpointIO
    """Knows what is stored in a folder, on disk or elsewhere."""
    callbacks: list[Any]
    default_root_dir: str

    @property
    def checkpointers(self) -> list[Any]:
        """The callbacks that save checkpoints."""
        return [callback for callback in self.callbacks if getattr(callback, "role", None) is Role.CHECKPOINT]

    @property
    def folders(self) -> list[str]:
        """The folders that these save to; without any, where a run that was told to end leaves its checkpoint."""
        own = {str(callback.dirpath) for callback in self.checkpointers if getattr(callback, "dirpath", None)}
        return sorted(own) if own or self.checkpointers else [self.default_root_dir]

    @property
    def of_failures(self) -> list[str]:
        """The names of the files in which callbacks save failed runs; these are removed by a run that's through."""
        return [_name(str(callback.ckpt_path)) for callback in self.checkpointers if _saves_failures(callback)]

    @property
    def of_ends(self) -> list[str]:
        """The names of all checkpoints that only a run leaves which didn't come to its end."""
        return [PREEMPTED, *self.of_failures]

    @property
    def numbered(self) -> list[tuple[int, str]]:
        """The checkpoints of a job that its scheduler queued again, with their numbers, the newest first."""
        stored = [found.path for found in self.checkpoint_io.stored(self.default_root_dir)]
        return sorted(((int(match[1]), path) for path in stored if (match := HPC.match(_name(path)))), reverse=True)

    def newest_whole(self, folders: list[str], name: re.Pattern[str]) -> tuple[str | None, list[str]]:
        """Return the newest whole checkpoint with such a name, and the torn ones that are newer."""
        stored = [found for folder in folders for found in self.checkpoint_io.stored(folder)]
        named = [found for found in stored if name.match(_name(found.path))]
        torn: list[str] = []
        for found in sorted(named, key=lambda found: found.modified_seconds, reverse=True):
            if self.checkpoint_io.is_whole(found.path):
                return found.path, torn
            torn.append(found.path)
        return None, torn


def resolve_ckpt_path(
    given: CkptPath, fn: TrainerFn, *, places: CheckpointPlaces, has_model: bool, fast_dev_run: bool
) -> str | None:
    """Return the path to load, ``None`` to load nothing.

    Args:
        given: what the user passed.
        fn: the entry point.
        places: where checkpoints may be.
        has_model: whether the user passed a model to this call; without one, evaluation loads the best checkpoint.
        fast_dev_run: whether checkpoints aren't written at all.

    Raises:
        ValueError: when there's no such checkpoint, or the path is empty.
    """
    if given is None and fn is TrainerFn.FITTING:
        return None if fast_dev_run else _implicit_last(places)
    if given is None and not has_model:
        given = _implicit_best(places.checkpointers)
    if given is None:
        return None
    if fspath(given) == "":
        message = "`ckpt_path` is empty; pass a path, 'best', 'last', 'hpc' or None."
        raise ValueError(message)
    if given == "best":
        return _best(places.checkpointers, fast_dev_run)
    if given == "last":
        return _last(places, fn)
    if given == "hpc":
        return _hpc(places)
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


def _implicit_last(places: CheckpointPlaces) -> str | None:
    """Return the newest checkpoint where the last run failed and a callback saves failed runs for the next one.

    What a run leaves that came to its end isn't gone on from unasked.
    """
    if not places.of_failures:
        return None
    path, torn = places.newest_whole(places.folders, _named(places.of_failures))
    if path is not None:
        path, torn = places.newest_whole(places.folders, _named(places.of_ends, _LAST))
    for one in torn:
        rank_zero_warn(f"{one} isn't a whole checkpoint and is skipped.")
    return path


def _best(checkpointers: list[Any], fast_dev_run: bool) -> str:
    checkpointers = [callback for callback in checkpointers if not _saves_failures(callback)]
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


def _last(places: CheckpointPlaces, fn: TrainerFn) -> str | None:
    """Return the newest whole checkpoint, one that's called "last" if there's any; torn ones are skipped with a word.

    A first fit has none yet and starts anew; anything else that asks for one and finds none is an error.
    """
    folders = places.folders
    path, torn = places.newest_whole(folders, _named(places.of_ends, _LAST))
    if path is None:
        path, other_torn = places.newest_whole(folders, _ANY)
        torn.extend(one for one in other_torn if one not in torn)
    for one in torn:
        rank_zero_warn(f"`ckpt_path='last'`: {one} isn't a whole checkpoint and is skipped.")
    if path is not None:
        return path
    where = folders or "any folder, as no checkpoint callback has one"
    if torn or fn is not TrainerFn.FITTING:
        message = f"`ckpt_path='last'`: there's no whole checkpoint in {where}. Pass the path of one."
        raise ValueError(message)
    rank_zero_warn(f"`ckpt_path='last'`: there's no checkpoint in {where} yet; training starts anew.")
    return None


def _hpc(places: CheckpointPlaces) -> str:
    root = places.default_root_dir
    for _, path in places.numbered:
        if places.checkpoint_io.is_whole(path):
            return path
        rank_zero_warn(f"`ckpt_path='hpc'`: {path} isn't a whole checkpoint and is skipped.")
    message = f"`ckpt_path='hpc'`: there's no whole `hpc_ckpt_<n>.ckpt` in {root}."
    raise ValueError(message)


def _saves_failures(callback: Any) -> bool:
    """Say whether a checkpoint callback saves failed runs and nothing else, all at its ``ckpt_path``."""
    return bool(getattr(callback, "saves_failures", False))


def _named(names: list[str], *patterns: str) -> re.Pattern[str]:
    """Return what matches one of these names or patterns."""
    return re.compile(rf"({'|'.join([*map(re.escape, names), *patterns])})$")


def _name(path: str) -> str:
    """Return the last part of a path or URL."""
    return re.split(r"[/\\]", path)[-1]
