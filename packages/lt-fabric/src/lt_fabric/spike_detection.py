"""Ends a loop of your own when its loss spikes, and keeps a list of the batches not to train on again."""

import json
from os import PathLike
from pathlib import Path
from typing import Any, Final, Protocol

from torch import Tensor, tensor

from lt_interfaces.commit import commit_text
from lt_interfaces.loss_spikes import LossSpikes, TrainingSpikeException

_FILE: Final = "skip_batches.json"


class _Ranks(Protocol):
    """What's needed of Fabric."""

    @property
    def is_global_zero(self) -> bool:
        """Whether this is rank 0."""

    def all_reduce(self, data: Any, group: Any = None, reduce_op: str = "mean") -> Any:
        """Reduce over all ranks."""


class SpikeDetection:
    """Raises when the loss spikes, on all ranks alike; call `on_train_batch_end` in your loop, or give it to Fabric.

    A spike is a loss that's worse than the last one and far from the mean of the last ones, or that isn't finite. The
    batch in which it's seen and the one before it are added to ``bad_batches``, which rank 0 writes down as JSON.

    Args:
        mode: whether a loss is better when it's smaller, "min", or greater, "max".
        window: how many losses the mean is taken over.
        warmup: batches before which nothing is a spike.
        atol: how far from the mean a spike is at least; ``None``: any distance.
        rtol: the same, as a multiple of the mean; ``None``: any distance.
        exclude_batches_path: the file to write, or a folder for ``skip_batches.json``; by default the working folder.
        finite_only: whether a loss that isn't finite is always a spike.

    Raises:
        ValueError: for another ``mode``, or a ``window`` below 1.

    Example::

        fabric = Fabric(callbacks=[SpikeDetection()])
        ...
        fabric.call("on_train_batch_end", fabric=fabric, loss=loss, batch=batch, batch_idx=batch_idx)
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
        self.exclude_batches_path = _file_at(exclude_batches_path)

    def on_train_batch_end(self, fabric: _Ranks, loss: Tensor, batch: Any, batch_idx: int) -> None:
        """Look at the loss of a batch; on all ranks.

        Raises:
            TrainingSpikeException: it's a spike on this rank or another.
        """
        own = float(loss.detach())
        is_spike = self._spikes.is_spike(own, batch_idx)
        if fabric.all_reduce(tensor(float(is_spike)), reduce_op="max") > 0:
            self.bad_batches += [index for index in (batch_idx - 1, batch_idx) if index >= 0]
            if fabric.is_global_zero:
                commit_text(self.exclude_batches_path, json.dumps(self.bad_batches))
            fabric.all_reduce(
                tensor(0.0), reduce_op="max"
            )  # no rank raises, which ends the job, before rank 0 has written
            raise TrainingSpikeException(batch_idx)
        self._spikes.take(own)

    def state_dict(self) -> dict[str, Any]:
        """Return what to save: the last losses and the bad batches."""
        return {"spikes": self._spikes.state_dict(), "bad_batches": list(self.bad_batches)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after what was saved; a state of Lightning's brings no losses, which are then gathered anew."""
        if "spikes" in state_dict:
            self._spikes.load_state_dict(state_dict["spikes"])
        self.bad_batches = list(state_dict["bad_batches"])


def _file_at(path: str | PathLike[str] | None) -> Path:
    given = Path.cwd() if path is None else Path(path)
    return given if given.suffix == ".json" else given / _FILE
