"""Changes the number of micro-batches per optimizer step as epochs go by."""

from collections.abc import Mapping
from typing import Any

from lt_callbacks.run import PlacedRun, Run
from lt_interfaces.callback import Callback
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.rank_zero import rank_zero_warn
from lt_interfaces.states import TrainerFn
from lt_interfaces.strategy import Capability


class GradientAccumulationScheduler(Callback):
    """Accumulates over other numbers of micro-batches from certain epochs on.

    A resumed run takes up the number of its epoch, also in the middle of one; a window that was open keeps its own.
    ``Trainer.estimated_stepping_batches`` counts with the schedule.

    Args:
        scheduling: number of micro-batches by the epoch, counted from 0, from which on it holds; 1 before the first.

    Raises:
        TypeError: for an empty schedule.
        MisconfigurationException: for an epoch that isn't a whole number from 0 on, or a number of micro-batches that
            isn't one from 1 on.
        RuntimeError: when fitting starts, in manual optimization, or under a strategy that can't change the number.
        ValueError: when training starts, if the Trainer's own ``accumulate_grad_batches`` isn't 1.

    >>> schedule = GradientAccumulationScheduler({4: 2, 8: 4})
    >>> [schedule.get_accumulate_grad_batches(epoch) for epoch in (0, 4, 7, 8)]
    [1, 2, 2, 4]
    """

    def __init__(self, scheduling: Mapping[int, int]) -> None:
        self.scheduling = _checked(scheduling)
        self.epochs = list(self.scheduling)
        """The epochs with which a number begins to hold, the first one first."""
        self._own: int | None = None

    def going_to_accumulate_grad_batches(self) -> bool:
        """Say whether any step has more than one micro-batch."""
        return any(micro_batches > 1 for micro_batches in self.scheduling.values())

    def get_accumulate_grad_batches(self, epoch: int) -> int:
        """Return the number of micro-batches per optimizer step in an epoch."""
        return self.scheduling[max(begin for begin in self.epochs if begin <= epoch)]

    def setup(self, trainer: PlacedRun, pl_module: Any, stage: str) -> None:
        if stage == TrainerFn.FITTING and not trainer.strategy.supports(Capability.CHANGING_ACCUMULATION):
            message = (
                f"{type(trainer.strategy).__name__} can't change the number of micro-batches per optimizer step during"
                " a run. Use `Trainer(accumulate_grad_batches=...)` without `GradientAccumulationScheduler`, or another"
                " strategy."
            )
            raise RuntimeError(message)

    def on_train_start(self, trainer: Run, pl_module: Any) -> None:
        if not pl_module.automatic_optimization:
            message = (
                "`GradientAccumulationScheduler` is for automatic optimization, but the module has"
                " `automatic_optimization = False`. Count batches in `training_step`, or leave the callback out."
            )
            raise RuntimeError(message)
        given = trainer.accumulate_grad_batches
        if given not in (1, self._own):  # its own is there already in a second call of `fit`
            message = (
                f"`Trainer(accumulate_grad_batches={given})` and `GradientAccumulationScheduler` both decide on the"
                " number of micro-batches. Leave one of them out."
            )
            raise ValueError(message)
        own = [name for name in ("optimizer_step", "optimizer_zero_grad") if _overrides(pl_module, name)]
        if own and self.going_to_accumulate_grad_batches():
            rank_zero_warn(
                f"While gradients are accumulated, `{type(pl_module).__name__}.{own[0]}` is called once per optimizer"
                " step, not for every batch."
            )
        self._apply(trainer)  # a resume may go on within an epoch, which then doesn't start

    def on_train_epoch_start(self, trainer: Run, pl_module: Any) -> None:
        self._apply(trainer)

    def _apply(self, trainer: Run) -> None:
        self._own = self.get_accumulate_grad_batches(trainer.current_epoch)
        trainer.set_accumulation(self._own)


def _checked(scheduling: Mapping[int, int]) -> dict[int, int]:
    """Return the schedule in the order of epochs."""
    if not isinstance(scheduling, Mapping) or not scheduling:
        message = f"`scheduling` must be a dict with at least one entry, such as {{4: 2}}, not {scheduling!r}."
        raise TypeError(message)
    for epoch, micro_batches in scheduling.items():
        if not _is_whole(epoch, least=0):
            message = f"`scheduling` must have epochs as keys, whole numbers from 0 on, not {epoch!r}."
            raise MisconfigurationException(message)
        if not _is_whole(micro_batches, least=1):
            message = (
                f"`scheduling` must have numbers of micro-batches as values, whole ones from 1 on, not"
                f" {micro_batches!r} (for epoch {epoch})."
            )
            raise MisconfigurationException(message)
    return dict(sorted({0: 1, **scheduling}.items()))


def _is_whole(number: object, *, least: int) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= least


def _overrides(module: Any, name: str) -> bool:
    """Say whether a module brings its own method, other than that of its base class."""
    method = getattr(type(module), name, None)
    return method is not None and not method.__qualname__.startswith("LightningModule.")
