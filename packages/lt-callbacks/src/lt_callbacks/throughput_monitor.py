"""Logs how fast training and evaluation go."""

from collections.abc import Callable
from typing import Any

import torch

from lt_callbacks.run import PlacedRun
from lt_callbacks.throughput_meter import ThroughputMeter
from lt_interfaces.callback import Callback
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.peak_flops import get_available_flops
from lt_interfaces.rank_zero import rank_zero_warn
from lt_interfaces.states import RunningStage, TrainerFn
from lt_interfaces.throughput import Throughput


class ThroughputMonitor(Callback):
    """Logs the rates of `lt_interfaces.throughput.Throughput` over the last batches, as ``<stage>/<name>``.

    The stages are ``train``, ``validate``, ``test`` and ``predict``, each with counts and a window of its own, so that
    ``train/device/samples_per_sec`` leaves out the time that validation takes. Counts begin with each call of `fit`,
    and with each validation. Rates come once ``window_size`` batches are there. Training logs with the other values of
    a step, evaluation at every ``log_every_n_steps``-th batch: while fitting at the number of training batches so far,
    alone at that of its own batches. The sanity check isn't measured.

    With ``flops_per_batch``, an attribute or property of the module, there are also rates of floating-point operations
    (`lt_interfaces.throughput.measure_flops` finds the number), and on devices that are known ``device/mfu``. On a CUDA
    device time is that at which the device finished a batch; the host waits for it only when rates are logged.

    Args:
        batch_size_fn: returns the number of samples in a batch.
        length_fn: returns the sum of their lengths, for instance tokens, for ``items_per_sec``.
        kwargs: of `Throughput`, but for ``world_size``, which the Trainer knows. What the device can do at best is
            looked up, unless ``available_flops`` is given.

    Raises:
        TypeError, ValueError: for arguments that `Throughput` doesn't take.
        MisconfigurationException: while running, for a ``flops_per_batch`` that isn't a whole number.

    >>> monitor = ThroughputMonitor(batch_size_fn=len, window_size=20)
    """

    def __init__(
        self, batch_size_fn: Callable[[Any], int], length_fn: Callable[[Any], int] | None = None, **kwargs: Any
    ) -> None:
        self.batch_size_fn = batch_size_fn
        self.length_fn = length_fn
        self._separator = Throughput(world_size=1, **kwargs).separator  # what it doesn't take is refused now
        self._settings = kwargs
        self.available_flops: float | None = kwargs.get("available_flops")
        self._meters: dict[RunningStage, ThroughputMeter] = {}
        self._global_step = 0
        self._has_warned = False

    def setup(self, trainer: PlacedRun, pl_module: Any, stage: str) -> None:
        if self._settings.get("available_flops") is None:
            self.available_flops = get_available_flops(trainer.strategy.root_device, _computed_in(trainer))

    def teardown(self, trainer: PlacedRun, pl_module: Any, stage: str) -> None:
        self._meters = {}

    def on_train_start(self, trainer: PlacedRun, pl_module: Any) -> None:
        self._global_step = trainer.global_step
        self._start(trainer, RunningStage.TRAINING)

    def on_train_batch_end(self, trainer: PlacedRun, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch is None:  # left out, or trained on before a resume
            return
        self._count(RunningStage.TRAINING, pl_module=pl_module, batch=batch)
        # Within a window of micro-batches logging stays due from one step on to the next.
        stepped, self._global_step = trainer.global_step != self._global_step, trainer.global_step
        if stepped and trainer.logging_is_due:
            self._log(trainer, RunningStage.TRAINING)

    def on_validation_start(self, trainer: PlacedRun, pl_module: Any) -> None:
        self._start(trainer, RunningStage.VALIDATING)

    def on_validation_batch_end(
        self, trainer: PlacedRun, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if not trainer.sanity_checking:
            self._count_evaluation(trainer, RunningStage.VALIDATING, pl_module=pl_module, batch=batch)

    def on_validation_end(self, trainer: PlacedRun, pl_module: Any) -> None:
        if (training := self._meters.get(RunningStage.TRAINING)) is not None:
            training.leave_out_time()

    def on_test_start(self, trainer: PlacedRun, pl_module: Any) -> None:
        self._start(trainer, RunningStage.TESTING)

    def on_test_batch_end(
        self, trainer: PlacedRun, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._count_evaluation(trainer, RunningStage.TESTING, pl_module=pl_module, batch=batch)

    def on_predict_start(self, trainer: PlacedRun, pl_module: Any) -> None:
        self._start(trainer, RunningStage.PREDICTING)

    def on_predict_batch_end(
        self, trainer: PlacedRun, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._count_evaluation(trainer, RunningStage.PREDICTING, pl_module=pl_module, batch=batch)

    def _start(self, trainer: PlacedRun, stage: RunningStage) -> None:
        settings = {**self._settings, "available_flops": self.available_flops, "world_size": trainer.world_size}
        self._meters[stage] = ThroughputMeter(Throughput(**settings), trainer.strategy.root_device)

    def _count(self, stage: RunningStage, *, pl_module: Any, batch: Any) -> None:
        self._meters[stage].count(
            samples=self.batch_size_fn(batch),
            length=None if self.length_fn is None else self.length_fn(batch),
            flops=self._flops_of(pl_module),
        )

    def _count_evaluation(self, trainer: PlacedRun, stage: RunningStage, *, pl_module: Any, batch: Any) -> None:
        self._count(stage, pl_module=pl_module, batch=batch)
        every, batches = trainer.log_every_n_steps, self._meters[stage].batches
        if every and batches % every == 0:
            self._log(trainer, stage, None if trainer.state.fn is TrainerFn.FITTING else batches)

    def _log(self, trainer: PlacedRun, stage: RunningStage, step: int | None = None) -> None:
        rates = self._meters[stage].rates()
        trainer.log_metrics({f"{stage.value}{self._separator}{name}": rate for name, rate in rates.items()}, step)

    def _flops_of(self, pl_module: Any) -> int | None:
        flops = getattr(pl_module, "flops_per_batch", None)
        if flops is None:
            if not self._has_warned:
                self._has_warned = True
                rank_zero_warn(
                    f"`ThroughputMonitor` logs no FLOPs: {type(pl_module).__name__} has no `flops_per_batch`. Give it"
                    " that attribute or property; `lt_interfaces.throughput.measure_flops` finds the number."
                )
            return None
        if not isinstance(flops, int):
            message = (
                f"`flops_per_batch` of {type(pl_module).__name__} must be a whole number, as an attribute or property,"
                f" not {flops!r}."
            )
            raise MisconfigurationException(message)
        return flops


def _computed_in(trainer: PlacedRun) -> torch.dtype:
    """Return the format that the precision computes in."""
    dtypes = trainer.precision_plugin.dtypes()
    return dtypes.compute or dtypes.param or torch.get_default_dtype()
