"""Saves a checkpoint when training fails, from which the next fit goes on by itself."""

import os
from typing import Any, Final

from lt_callbacks.checkpoint import Checkpoint
from lt_callbacks.checkpoint_folder import join
from lt_callbacks.run import Run
from lt_interfaces.rank_zero import rank_zero_warn
from lt_interfaces.states import TrainerFn


class OnExceptionCheckpoint(Checkpoint):
    """Saves a checkpoint when training fails; the next `fit` goes on from it, and removes it once it's through.

    With this callback in the Trainer, `fit` without a ``ckpt_path`` looks for the file of a failed run. If there's one,
    it takes the newest of this file and those called ``last``; without one it starts anew.

    Nothing is saved before the first batch, so that a mistake in a model's ``setup`` can't replace the checkpoint of a
    long run by untrained weights; nor under ``fast_dev_run``, and nothing but fitting touches the file.

    With several processes nothing is saved, and that's said when fitting starts: the first failure ends the job, and
    ranks that no longer hear each other can't save together.

    Args:
        dirpath: the folder, local or a URL.
        filename: the file's name, without ``.ckpt``.

    Raises:
        ValueError: for an empty ``filename``.

    >>> OnExceptionCheckpoint("runs").ckpt_path
    'runs/on_exception.ckpt'
    """

    FILE_EXTENSION = ".ckpt"

    saves_failures: Final = True
    """Whether the file at ``ckpt_path`` is that of a failed run, for the next one to go on from."""
    best_model_path: Final = ""
    """None of its checkpoints is the best of anything."""

    def __init__(self, dirpath: str | os.PathLike[str], filename: str = "on_exception") -> None:
        if not filename:
            message = f"`filename` must be the name of a file, without its extension, not {filename!r}."
            raise ValueError(message)
        self.dirpath: Final = str(dirpath)
        self.filename: Final = filename
        self.last_model_path = ""
        self._has_trained = False
        self._has_failed = False

    @property
    def ckpt_path(self) -> str:
        """The file that it saves; fitting goes on from it, if it's there."""
        return join(self.dirpath, self.filename + self.FILE_EXTENSION)

    def setup(self, trainer: Run, pl_module: Any, stage: str) -> None:
        self._has_trained = self._has_failed = False
        if stage == TrainerFn.FITTING and trainer.world_size > 1:
            rank_zero_warn(
                "`OnExceptionCheckpoint` saves nothing in a job of several processes: when one fails, they can't save"
                " together any more. Use `ModelCheckpoint(every_n_train_steps=..., save_last=True)`, and"
                " `fit(..., ckpt_path='last')` to go on."
            )

    def on_train_start(self, trainer: Run, pl_module: Any) -> None:
        self._has_trained = not trainer.fast_dev_run and trainer.world_size == 1

    def on_exception(self, trainer: Run, pl_module: Any, exception: BaseException) -> None:
        self._has_failed = True
        if self._has_trained:
            trainer.save_checkpoint(self.ckpt_path)
            self.last_model_path = self.ckpt_path if trainer.has_checkpoint(self.ckpt_path) else ""

    def teardown(self, trainer: Run, pl_module: Any, stage: str) -> None:
        is_over = stage == TrainerFn.FITTING and not self._has_failed and not trainer.fast_dev_run
        if is_over and trainer.has_checkpoint(self.ckpt_path):
            trainer.remove_checkpoint(self.ckpt_path)
            self.last_model_path = ""
