"""Logs what optimizers currently use."""

from typing import Any

from lt_callbacks.learning_rate_names import NamedOptimizer, ParamGroup, name_learning_rates
from lt_callbacks.run import Run
from lt_interfaces.callback import Callback
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.spelling import did_you_mean

_INTERVALS = ("step", "epoch")


class LearningRateMonitor(Callback):
    """Logs the learning rate of every parameter group, as ``lr-<optimizer>`` or under its scheduler's name.

    Args:
        logging_interval: ``"step"``: with the other values of a step; ``"epoch"``: when an epoch starts; ``None``: each
            scheduler at its own interval (optimizers without a scheduler at both).
        log_momentum: also log the momentum, or the first beta, as ``...-momentum``.
        log_weight_decay: also log the weight decay, as ``...-weight_decay``.
        log_key_prefix: put before every name.

    Raises:
        MisconfigurationException: for another ``logging_interval``; when training starts without a logger.

    >>> LearningRateMonitor(logging_interval="step").lrs
    {}
    """

    def __init__(
        self,
        logging_interval: str | None = None,
        log_momentum: bool = False,
        log_weight_decay: bool = False,
        log_key_prefix: str | None = None,
    ) -> None:
        if logging_interval not in (None, *_INTERVALS):
            hint = did_you_mean(str(logging_interval), _INTERVALS)
            message = f"`logging_interval` must be 'step', 'epoch' or None, not {logging_interval!r}.{hint}"
            raise MisconfigurationException(message)
        self.logging_interval = logging_interval
        self.log_momentum = log_momentum
        self.log_weight_decay = log_weight_decay
        self.log_key_prefix = log_key_prefix or ""
        self.lrs: dict[str, list[float]] = {}
        """Every learning rate that was logged, by name."""
        self._named: list[NamedOptimizer] = []

    def on_train_start(self, trainer: Run, pl_module: Any) -> None:
        if not trainer.loggers:
            message = "`LearningRateMonitor` needs a logger to write to; pass `Trainer(logger=True)` or remove it."
            raise MisconfigurationException(message)
        self._named = name_learning_rates(trainer.optimizers, trainer.lr_scheduler_configs)
        self.lrs = {self.log_key_prefix + name: [] for named in self._named for name in named.names}

    def on_train_batch_start(self, trainer: Run, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self.logging_interval != "epoch" and trainer.logging_is_due:
            self._log(trainer, "step")

    def on_train_epoch_start(self, trainer: Run, pl_module: Any) -> None:
        if self.logging_interval != "step":
            self._log(trainer, "epoch")

    def _log(self, trainer: Run, moment: str) -> None:
        values: dict[str, float] = {}
        for named in self._named:
            if self.logging_interval is None and named.interval not in (None, moment):
                continue
            for name, group in zip(named.names, named.optimizer.param_groups, strict=False):
                values |= self._values(self.log_key_prefix + name, group)
        if values:
            trainer.log_metrics(values)

    def _values(self, name: str, group: ParamGroup) -> dict[str, float]:
        rate = float(group["lr"])
        self.lrs[name].append(rate)
        values = {name: rate}
        if self.log_momentum:
            values[f"{name}-momentum"] = float(group["betas"][0] if "betas" in group else group.get("momentum", 0))
        if self.log_weight_decay:
            values[f"{name}-weight_decay"] = float(group.get("weight_decay", 0))
        return values
