"""Logs what can be measured of the devices while they work."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from lt_callbacks.run import PlacedRun
from lt_interfaces import plugins
from lt_interfaces.accelerator import Accelerator
from lt_interfaces.callback import Callback
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.rank_zero import rank_zero_warn
from lt_interfaces.states import TrainerFn


class DeviceStatsMonitor(Callback):
    """Logs the accelerator's statistics at the start and the end of batches, as ``DeviceStatsMonitor.<hook>/<name>``.

    For CUDA devices these are torch's memory statistics, for CPUs the load of processor, memory and swap in percent
    (``pip install lt-fabric[stats]``). In training it measures with the other values of a step; in validation and test
    at every ``log_every_n_steps``-th batch. What's measured while fitting has the number of training batches so far as
    its x-axis, in other evaluation that of its own batches. The sanity check isn't measured.

    Args:
        cpu_stats: ``None``: measure the device, whatever it is; ``True``: the CPU as well, where the device is another
            one; ``False``: don't measure a CPU.
        filter_keys: the names of the statistics to log; ``None``: all. Names that there aren't are worth a warning.

    Raises:
        MisconfigurationException: when fitting starts without a logger.
        ModuleNotFoundError: when a run starts that shall measure a CPU, without psutil.

    >>> DeviceStatsMonitor(filter_keys={"allocated_bytes.all.peak"}).cpu_stats is None
    True
    """

    def __init__(self, cpu_stats: bool | None = None, filter_keys: Iterable[str] | None = None) -> None:
        if isinstance(filter_keys, str):
            message = f"`filter_keys` must be a set of names, not the text {filter_keys!r}: write {{{filter_keys!r}}}."
            raise TypeError(message)
        self.cpu_stats = cpu_stats
        self.filter_keys = None if filter_keys is None else set(filter_keys)
        self._measured: list[tuple[Accelerator, torch.device]] = []
        self._evaluated = 0
        self._has_warned = False

    def setup(self, trainer: PlacedRun, pl_module: Any, stage: str) -> None:
        if stage == TrainerFn.FITTING and not trainer.loggers and not trainer.fast_dev_run:
            message = "`DeviceStatsMonitor` needs a logger to write to; pass `Trainer(logger=True)` or remove it."
            raise MisconfigurationException(message)
        self._measured = list(self._to_measure(trainer))
        # What's missing is said now, and not in the middle of training; and a CPU's load is measured from one time on.
        for accelerator, device in self._measured:
            if device.type == "cpu":
                accelerator.get_device_stats(device)

    def teardown(self, trainer: PlacedRun, pl_module: Any, stage: str) -> None:
        self._measured = []

    def on_train_batch_start(self, trainer: PlacedRun, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.logging_is_due:
            self._log(trainer, "on_train_batch_start")

    def on_train_batch_end(self, trainer: PlacedRun, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.logging_is_due:
            self._log(trainer, "on_train_batch_end")

    def on_validation_start(self, trainer: PlacedRun, pl_module: Any) -> None:
        self._evaluated = 0

    def on_test_start(self, trainer: PlacedRun, pl_module: Any) -> None:
        self._evaluated = 0

    def on_validation_batch_start(
        self, trainer: PlacedRun, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._log_evaluation(trainer, "on_validation_batch_start")

    def on_validation_batch_end(
        self, trainer: PlacedRun, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._log_evaluation(trainer, "on_validation_batch_end")
        self._evaluated += 1

    def on_test_batch_start(
        self, trainer: PlacedRun, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._log_evaluation(trainer, "on_test_batch_start")

    def on_test_batch_end(
        self, trainer: PlacedRun, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._log_evaluation(trainer, "on_test_batch_end")
        self._evaluated += 1

    def _to_measure(self, trainer: PlacedRun) -> Iterator[tuple[Accelerator, torch.device]]:
        """Yield what's to be measured: accelerators, each with its device."""
        device = trainer.strategy.root_device
        if device.type != "cpu" or self.cpu_stats is not False:
            yield trainer.accelerator, device
        if device.type != "cpu" and self.cpu_stats:
            yield plugins.resolve("accelerators", "cpu")(), torch.device("cpu")

    def _log_evaluation(self, trainer: PlacedRun, hook: str) -> None:
        every = trainer.log_every_n_steps
        if trainer.sanity_checking or not every or (self._evaluated + 1) % every:
            return
        self._log(trainer, hook, None if trainer.state.fn is TrainerFn.FITTING else self._evaluated)

    def _log(self, trainer: PlacedRun, hook: str, step: int | None = None) -> None:
        if not trainer.loggers:
            return
        stats: dict[str, float] = {}
        for accelerator, device in self._measured:
            stats |= accelerator.get_device_stats(device)
        prefix = f"{type(self).__name__}.{hook}{trainer.loggers[0].group_separator}"
        chosen = {prefix + name: stats[name] for name in self._chosen(stats)}
        if chosen:
            trainer.log_metrics(chosen, step)

    def _chosen(self, stats: Mapping[str, float]) -> list[str]:
        """Return the names of what's logged."""
        if self.filter_keys is None:
            return list(stats)
        unknown = self.filter_keys - stats.keys()
        if unknown and self._measured and not self._has_warned:
            self._has_warned = True
            rank_zero_warn(
                f"`DeviceStatsMonitor(filter_keys=...)`: there are no statistics called {sorted(unknown)}, only"
                f" {sorted(stats)}."
            )
        return [name for name in stats if name in self.filter_keys]
