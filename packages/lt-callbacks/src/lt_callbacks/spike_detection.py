"""Ends training when its loss spikes, and keeps a list of the batches not to train on again."""

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Final

from lt_callbacks.checkpoint_folder import is_remote
from lt_callbacks.run import Run
from lt_interfaces.callback import Callback
from lt_interfaces.commit import commit_text
from lt_interfaces.loss_spikes import LossSpikes, TrainingSpikeException
from lt_interfaces.rank_zero import rank_zero_warn

_FILE: Final = "skip_batches.json"


class SpikeDetection(Callback):
    """Raises when the training loss spikes on any rank, which ends training on all of them.

    A spike is a loss that's worse than the last one and far from the mean of the last ones, or that isn't finite. The
    batch in which it's seen and the one before it are added to ``bad_batches``, which rank 0 writes down as JSON. Both
    are numbered within their epoch. What it has seen survives a resume.

    It looks at every loss, so the host waits for the device once per batch, and ranks for each other.

    Args:
        mode: whether a loss is better when it's smaller, "min", or greater, "max".
        window: how many losses the mean is taken over.
        warmup: batches of an epoch before which nothing is a spike.
        atol: how far from the mean a spike is at least; ``None``: any distance.
        rtol: the same, as a multiple of the mean; ``None``: any distance.
        exclude_batches_path: the local file to write, ending in ``.json``, or a folder for ``skip_batches.json``; by
            default the Trainer's ``default_root_dir``.
        finite_only: whether a loss that isn't finite is always a spike.

    Raises:
        ValueError: for another ``mode``, a ``window`` below 1, or a URL as ``exclude_batches_path``; when a run starts,
            for a ``default_root_dir`` that's a URL where no path was given.
        TrainingSpikeException: while training, `lt_interfaces.loss_spikes.TrainingSpikeException`, for a spike.

    >>> SpikeDetection(exclude_batches_path="runs").exclude_batches_path.as_posix()
    'runs/skip_batches.json'
    """

    def __init__(
        self,
        mode: str = "min",
        window: int = 10,
        warmup: int = 1,
        atol: float | None = None,
        rtol: float | None = 2.0,
        exclude_batches_path: str | PathLike[str] | None = None,
        finite_only: bool = True,
    ) -> None:
        self._spikes = LossSpikes(
            mode=mode, window=window, warmup=warmup, atol=atol, rtol=rtol, finite_only=finite_only
        )
        self.bad_batches: list[int] = []
        self.exclude_batches_path: Path | None = (
            None if exclude_batches_path is None else _file_at(exclude_batches_path)
        )
        """The file to write; where no path was given, known once a run starts."""
        self._has_warned = False

    def setup(self, trainer: Run, pl_module: Any, stage: str) -> None:
        if self.exclude_batches_path is None:
            self.exclude_batches_path = _file_at(trainer.default_root_dir)

    def on_train_batch_end(self, trainer: Run, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Look at the loss of a batch. Collective.

        Raises:
            TrainingSpikeException: it's a spike on this rank or another.
        """
        loss = self._loss_in(outputs, batch_idx)
        is_spike = loss is not None and self._spikes.is_spike(loss, batch_idx)
        if trainer.agree(is_spike, all_ranks=False):
            self._write_down(trainer, batch_idx)
            raise TrainingSpikeException(batch_idx)
        if loss is not None:
            self._spikes.take(loss)

    def state_dict(self) -> dict[str, Any]:
        return {"spikes": self._spikes.state_dict(), "bad_batches": list(self.bad_batches)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after what was saved; a checkpoint of Lightning's brings no losses, which are then gathered anew."""
        if "spikes" in state_dict:
            self._spikes.load_state_dict(state_dict["spikes"])
        self.bad_batches = list(state_dict["bad_batches"])

    def _loss_in(self, outputs: Any, batch_idx: int) -> float | None:
        if outputs is None:  # a batch that was left out, or one that was trained on before a resume
            return None
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if loss is None and not self._has_warned:
            self._has_warned = True
            rank_zero_warn(
                f"`SpikeDetection` can't look at batch {batch_idx}: `training_step` returned no loss. It leaves out all"
                " such batches; in manual optimization, return the loss to have it looked at."
            )
        return None if loss is None else float(loss)

    def _write_down(self, trainer: Run, batch_idx: int) -> None:
        self.bad_batches += [index for index in (batch_idx - 1, batch_idx) if index >= 0]
        if trainer.is_global_zero and self.exclude_batches_path is not None:
            commit_text(self.exclude_batches_path, json.dumps(self.bad_batches))
        trainer.broadcast(None)  # no rank raises, which ends the job, before rank 0 has written


def _file_at(path: str | PathLike[str]) -> Path:
    if is_remote(path):
        message = (
            f"`SpikeDetection` writes {_FILE} to a local file, not to {str(path)!r}:"
            " pass `exclude_batches_path` as a local path."
        )
        raise ValueError(message)
    given = Path(path)
    return given if given.suffix == ".json" else given / _FILE
