"""Stops training when a metric no longer improves."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, Final

import torch
from torch import Tensor

from lt_callbacks.evaluation_timing import decides_at_train_epoch_end
from lt_callbacks.fields_of_records import FieldOf
from lt_callbacks.run import Run
from lt_callbacks.stopping_rule import EarlyStoppingReason, StoppingRule, Watched
from lt_callbacks.top_k import check_mode, worst
from lt_callbacks.unheard_overrides import warn_of_unheard_overrides
from lt_interfaces.callback import Callback
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.rank_zero import rank_prefixed_message, rank_zero_info, rank_zero_warn
from lt_interfaces.roles import Role
from lt_interfaces.spelling import did_you_mean
from lt_interfaces.states import TrainerFn

_UNHEARD: Final = ("_validate_condition_metric", "_improvement_message", "_log_info")
_INSTEAD: Final = "`_should_skip_check`, `_run_early_stopping_check` or `_evaluate_stopping_criteria`"


class EarlyStopping(Callback):
    """Asks to stop when a logged metric hasn't improved for a while, or has passed a limit.

    It looks at the metric's value over all ranks at the end of each epoch or, where validation doesn't run exactly once
    at an epoch's end, after each validation. ``min_epochs`` and ``min_steps`` are waited for. What it has seen survives
    a resume; ``patience`` is always the one given here.

    Args:
        monitor: the name of a logged metric.
        min_delta: how much better a value must be to count as improvement; a negative one lets worse values count.
        patience: checks (not epochs) in a row without improvement that end the run.
        verbose: tell about improvements.
        mode: ``"min"`` or ``"max"``: which values are better.
        strict: a metric that hasn't been logged raises.
        check_finite: stop when the metric is NaN or infinite.
        stopping_threshold: stop when the metric is better than this.
        divergence_threshold: stop when the metric is worse than this.
        check_on_train_epoch_end: look when the training epoch ends rather than after validation.
        log_rank_zero_only: messages come from rank 0 alone.

    Raises:
        MisconfigurationException: for arguments that can't work.
        RuntimeError: while fitting, when ``strict`` and the metric hasn't been logged.

    >>> EarlyStopping(monitor="val_accuracy", mode="max", patience=5).state_key
    "EarlyStopping{'monitor': 'val_accuracy', 'mode': 'max'}"
    """

    role: ClassVar[Role | None] = Role.STOP

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        warn_of_unheard_overrides(cls, _UNHEARD, instead=_INSTEAD)

    def __init__(
        self,
        monitor: str,
        min_delta: float = 0.0,
        patience: int = 3,
        verbose: bool = False,
        mode: str = "min",
        strict: bool = True,
        check_finite: bool = True,
        stopping_threshold: float | None = None,
        divergence_threshold: float | None = None,
        check_on_train_epoch_end: bool | None = None,
        log_rank_zero_only: bool = False,
    ) -> None:
        check_mode(mode)
        if not isinstance(patience, int) or isinstance(patience, bool) or patience < 0:
            message = f"`patience` must be a whole number of checks >= 0, not {patience!r}."
            raise MisconfigurationException(message)
        self.verbose = verbose
        self.strict = strict
        self.log_rank_zero_only = log_rank_zero_only
        self.stopped_epoch = 0
        self._check_on_train_epoch_end = check_on_train_epoch_end
        self._rule = StoppingRule(
            monitor, mode, min_delta, patience, check_finite, stopping_threshold, divergence_threshold
        )
        self._watched = Watched(best_score=worst(mode))

    # What it watches, by which limits, and what it has seen: users read these, and change them between epochs.
    monitor = FieldOf[str]("_rule")
    mode = FieldOf[str]("_rule")
    patience = FieldOf[int]("_rule")
    check_finite = FieldOf[bool]("_rule")
    stopping_threshold = FieldOf[float | None]("_rule")
    divergence_threshold = FieldOf[float | None]("_rule")
    wait_count = FieldOf[int]("_watched")
    best_score = FieldOf[Tensor]("_watched")

    @property
    def min_delta(self) -> float:
        """How much better a value must be, signed: it's taken off a value before that is held against the best."""
        return -self._rule.margin

    @property
    def monitor_op(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Tells whether the first score is better than the second."""
        return torch.lt if self.mode == "min" else torch.gt

    @property
    def stopping_reason(self) -> EarlyStoppingReason:
        """Why it asked to stop."""
        return self._watched.reason

    @property
    def stopping_reason_message(self) -> str | None:
        """Why it asked to stop, in words; ``None`` while it hasn't."""
        return self._watched.message if self._watched.reason else None

    @property
    def state_key(self) -> str:
        """Names the metric, so that several can live in one run."""
        return self._generate_state_key(monitor=self.monitor, mode=self.mode)

    def state_dict(self) -> dict[str, Any]:
        return {
            "wait_count": self.wait_count,
            "stopped_epoch": self.stopped_epoch,
            "best_score": self.best_score,
            "patience": self.patience,
            "stopping_reason": int(self.stopping_reason),
            "stopping_reason_message": self.stopping_reason_message,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what was seen; ``patience`` stays as given to the constructor."""
        self.stopped_epoch = state_dict["stopped_epoch"]
        self._watched = Watched(
            best_score=torch.as_tensor(state_dict["best_score"]),
            wait_count=state_dict["wait_count"],
            reason=EarlyStoppingReason(state_dict.get("stopping_reason", 0)),
            message=state_dict.get("stopping_reason_message") or "",
        )

    def on_train_epoch_end(self, trainer: Run, pl_module: Any) -> None:
        if decides_at_train_epoch_end(trainer, self._check_on_train_epoch_end):
            self._check(trainer)

    def on_validation_end(self, trainer: Run, pl_module: Any) -> None:
        if not decides_at_train_epoch_end(trainer, self._check_on_train_epoch_end):
            self._check(trainer)

    def _check(self, trainer: Run) -> None:
        if not self._should_skip_check(trainer):
            self._run_early_stopping_check(trainer)

    # --- the steps of a check: private, but subclasses in code written for Lightning override them by these names ---

    def _should_skip_check(self, trainer: Run) -> bool:
        """Say whether this moment doesn't count."""
        return trainer.state.fn is not TrainerFn.FITTING or trainer.sanity_checking or bool(trainer.fast_dev_run)

    def _run_early_stopping_check(self, trainer: Run) -> None:
        """Look at the metric and ask to stop where it says so. Collective."""
        current = trainer.reduced(self.monitor)
        if current is None:
            self._tell_missing(sorted(trainer.callback_metrics))
            return
        should_stop, reason = self._evaluate_stopping_criteria(current.detach().cpu().squeeze())
        if trainer.agree(should_stop, all_ranks=False):
            self.stopped_epoch = trainer.current_epoch
            trainer.request_stop(f"EarlyStopping: {reason or self.monitor}")
        if reason and (self.verbose or should_stop):
            self._tell(trainer, f"EarlyStopping: {reason}.")

    def _evaluate_stopping_criteria(self, current: Tensor) -> tuple[bool, str | None]:
        """Take in a value; return whether it says to stop, and why, or what improved."""
        earlier = replace(self._watched, reason=EarlyStoppingReason.NOT_STOPPED)
        self._watched = self._rule.judge(current, earlier)
        return bool(self._watched.reason), self._watched.message or None

    def _tell_missing(self, logged: list[str]) -> None:
        message = (
            f"`EarlyStopping(monitor={self.monitor!r})` found no such metric.{did_you_mean(self.monitor, logged)} "
            f"Logged so far: {logged}. Log it with `self.log({self.monitor!r}, ...)`, or pass `strict=False`."
        )
        if self.strict:
            raise RuntimeError(message)
        if self.verbose:
            rank_zero_warn(message, category=RuntimeWarning)

    def _tell(self, trainer: Run, message: str) -> None:
        several = trainer.world_size > 1 and not self.log_rank_zero_only
        rank_zero_info(rank_prefixed_message(message, trainer.global_rank) if several else message)
