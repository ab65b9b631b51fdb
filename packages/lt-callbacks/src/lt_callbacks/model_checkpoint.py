"""Saves checkpoints at chosen moments and keeps the best ones."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any, ClassVar, Final, Literal

from torch import Tensor

from lt_callbacks.checkpoint import Checkpoint
from lt_callbacks.checkpoint_folder import absolute, default_folder, is_remote, join
from lt_callbacks.checkpoint_keeper import CheckpointKeeper, KeepingRules, NameStyle, SavingActions, is_taken
from lt_callbacks.evaluation_timing import decides_at_train_epoch_end, validation_may_follow
from lt_callbacks.fields_of_records import FieldOf
from lt_callbacks.kept_checkpoints import KeptCheckpoints
from lt_callbacks.run import Run
from lt_callbacks.saving_triggers import SavingTriggers
from lt_callbacks.top_k import KEEP_ALL, TopK, check_mode
from lt_callbacks.unheard_overrides import warn_of_unheard_overrides
from lt_interfaces.commit import commit_text, visible_entries
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.rank_zero import rank_zero_warn
from lt_interfaces.states import TrainerFn

_UNHEARD: Final = (
    "_save_topk_checkpoint",
    "_save_last_checkpoint",
    "_save_monitor_checkpoint",
    "_save_none_monitor_checkpoint",
    "_update_best_and_save",
    "_monitor_candidates",
    "_format_checkpoint_name",
    "_get_metric_interpolated_filepath_name",
    "_should_remove_checkpoint",
    "_link_checkpoint",
)
_INSTEAD: Final = (
    "`_save_checkpoint`, `_remove_checkpoint`, `_should_skip_saving_checkpoint` or `format_checkpoint_name`"
)


@dataclass
class _Watch:
    """What a running training has shown so far, as far as the moments of saving are concerned."""

    seen_step: int = 0
    """The optimizer step at which the step trigger was last asked."""
    due_at_seconds: float = 0.0
    """When a checkpoint was last due, on the monotonic clock."""
    is_deferred: bool = False
    """A batch trigger waits for its metric."""
    has_validated: bool = False


class ModelCheckpoint(Checkpoint):
    """Saves checkpoints while fitting, by default one at the end of each epoch, of which the newest is kept.

    With ``monitor`` it keeps the ``save_top_k`` best by that metric's value over all ranks; without, the newest one
    (``save_top_k=1``) or all (``-1``). A displaced file is deleted when its successor is safely on disk, and only if it
    lies in ``dirpath`` and isn't the one the run was resumed from. At most one checkpoint of an optimizer step is kept,
    besides ``last``. Nothing is saved under ``fast_dev_run``, in the sanity check and outside of ``fit``.

    Args:
        dirpath: where checkpoints go; by default ``checkpoints`` in the first logger's run folder, or in
            ``Trainer.default_root_dir``.
        filename: a template without extension, for instance ``"{epoch}-{val_loss:.2f}"``; by default
            ``{epoch}-{step}``. A metric that hasn't been logged raises.
        monitor: the name of a logged metric.
        verbose: tell about each decision.
        save_last: also keep ``last.ckpt``, refreshed whenever a checkpoint is due, whether or not it's among the best;
            ``"link"`` makes it a link where the same state was just saved under another name.
        save_top_k: how many to keep; -1: all, 0: none.
        save_on_exception: also save when the run fails or is interrupted.
        save_weights_only: leave out everything that only training needs.
        mode: ``"min"`` or ``"max"``: which values of ``monitor`` are better.
        auto_insert_metric_name: write ``epoch=3`` rather than ``3`` for ``{epoch}``.
        every_n_train_steps: save whenever that many optimizer steps were taken; excludes the next two.
        train_time_interval: save after a batch when that much time has passed since the last time.
        every_n_epochs: save at the end of every n-th epoch.
        save_on_train_epoch_end: save when the training epoch ends rather than after validation; by default where
            validation runs once at the end of each epoch, or not at all.
        enable_version_counter: add ``-v1``, ``-v2``, ... rather than overwrite a file of an earlier run.

    Raises:
        MisconfigurationException: for arguments that can't work; while fitting when ``filename`` or (after validation)
            ``monitor`` names a metric that was never logged.

    >>> checkpoint = ModelCheckpoint(monitor="val_loss", filename="{epoch:02d}-{val_loss:.2f}", save_top_k=3)
    >>> checkpoint.format_checkpoint_name({"epoch": 4, "val_loss": 0.251})
    'epoch=04-val_loss=0.25.ckpt'
    """

    CHECKPOINT_JOIN_CHAR: ClassVar[str] = "-"
    CHECKPOINT_EQUALS_CHAR: ClassVar[str] = "="
    CHECKPOINT_NAME_LAST: ClassVar[str] = "last"
    FILE_EXTENSION: ClassVar[str] = ".ckpt"
    STARTING_VERSION: ClassVar[int] = 1

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        warn_of_unheard_overrides(cls, _UNHEARD, instead=_INSTEAD)

    def __init__(
        self,
        dirpath: str | os.PathLike[str] | None = None,
        filename: str | None = None,
        monitor: str | None = None,
        verbose: bool = False,
        save_last: bool | Literal["link"] | None = None,
        save_top_k: int = 1,
        save_on_exception: bool = False,
        save_weights_only: bool = False,
        mode: str = "min",
        auto_insert_metric_name: bool = True,
        every_n_train_steps: int | None = None,
        train_time_interval: timedelta | None = None,
        every_n_epochs: int | None = None,
        save_on_train_epoch_end: bool | None = None,
        enable_version_counter: bool = True,
    ) -> None:
        check_mode(mode)
        _check_save_top_k(save_top_k, monitor)
        _check_save_last(save_last)
        self.save_on_exception = save_on_exception
        self.save_on_train_epoch_end = save_on_train_epoch_end
        self._dirpath = None if dirpath is None else absolute(dirpath)
        self._triggers = SavingTriggers.from_arguments(
            every_n_train_steps=every_n_train_steps,
            every_n_epochs=every_n_epochs,
            train_time_interval=train_time_interval,
        )
        rules = KeepingRules(filename, monitor, verbose, save_last, save_weights_only, enable_version_counter)
        actions = SavingActions(self.format_checkpoint_name, self._save_checkpoint, self._remove_checkpoint)
        style = self._style(auto_insert_metric_name)
        self._keeper = CheckpointKeeper(rules, style, KeptCheckpoints(TopK(save_top_k, mode)), actions)
        self._watch = _Watch()
        self._resumed: dict[str, Any] | None = None
        """What the last three knew in the run that's resumed, until training starts."""
        self._has_remote: Callable[[str], bool] | None = None
        """Tells whether there's a checkpoint at a URL, while there's a run to ask."""

    # --- what it was told and what it keeps, under the names that users read ---

    filename = FieldOf[str | None]("_keeper.rules")
    monitor = FieldOf[str | None]("_keeper.rules")
    verbose = FieldOf[bool]("_keeper.rules")
    save_last = FieldOf[bool | str | None]("_keeper.rules")
    save_weights_only = FieldOf[bool]("_keeper.rules", "weights_only")
    auto_insert_metric_name = FieldOf[bool]("_keeper.style", "insert_names")
    every_n_epochs = FieldOf[int]("_triggers")
    best_model_path = FieldOf[str]("_keeper.kept")  # without `monitor` the newest; empty when nothing was saved
    last_model_path = FieldOf[str]("_keeper.kept")
    current_score = FieldOf[Tensor | None]("_keeper.kept")

    # private, but read by subclasses in code written for Lightning
    _every_n_train_steps = FieldOf[int]("_triggers", "every_n_train_steps")
    _every_n_epochs = FieldOf[int]("_triggers", "every_n_epochs")
    _train_time_interval = FieldOf[timedelta | None]("_triggers", "train_time_interval")

    @property
    def _last_global_step_saved(self) -> int:
        return self._keeper.saved_step

    @_last_global_step_saved.setter
    def _last_global_step_saved(self, step: int) -> None:
        self._keeper.saved_step = step

    @property
    def dirpath(self) -> str | None:
        """The folder of the checkpoints; unless given, it's known from ``setup`` on."""
        return self._dirpath

    @dirpath.setter
    def dirpath(self, folder: str | os.PathLike[str] | None) -> None:
        self._dirpath = None if folder is None else absolute(folder)

    @property
    def mode(self) -> str:
        """Which values are better, "min" or "max"."""
        return self._keeper.kept.top_k.mode

    @property
    def save_top_k(self) -> int:
        """How many are kept; -1: all."""
        return self._keeper.kept.top_k.k

    @save_top_k.setter
    def save_top_k(self, save_top_k: int) -> None:
        _check_save_top_k(save_top_k, self.monitor)
        kept = self._keeper.kept
        self._keeper.kept = replace(kept, top_k=replace(kept.top_k, k=save_top_k))

    @property
    def best_model_score(self) -> Tensor | None:
        """The score of ``best_model_path``; ``None`` without ``monitor``."""
        return self._keeper.kept.best_model_score

    @property
    def best_k_models(self) -> dict[str, Tensor]:
        """The kept checkpoints by path, with their scores; empty without ``monitor``."""
        return dict(self._keeper.kept.top_k.scores)

    @property
    def kth_best_model_path(self) -> str:
        """The worst of ``best_k_models``, the next to go; empty while there's none."""
        return self._keeper.kept.top_k.kth_path

    @property
    def kth_value(self) -> Tensor:
        """The score of ``kth_best_model_path``, which a new one has to beat once ``save_top_k`` are kept."""
        return self._keeper.kept.top_k.kth_score

    def _style(self, insert_names: bool) -> NameStyle:
        """Return the fixed parts of names as they're now: users set the class's constants on instances, too."""
        return NameStyle(
            join=self.CHECKPOINT_JOIN_CHAR,
            equals=self.CHECKPOINT_EQUALS_CHAR,
            last=self.CHECKPOINT_NAME_LAST,
            extension=self.FILE_EXTENSION,
            first_version=self.STARTING_VERSION,
            insert_names=insert_names,
        )

    # --- what survives a resume ---

    @property
    def state_key(self) -> str:
        """Names the metric and the triggers, so that several can live in one run."""
        return self._generate_state_key(
            monitor=self.monitor,
            mode=self.mode,
            every_n_train_steps=self._triggers.every_n_train_steps,
            every_n_epochs=self._triggers.every_n_epochs,
            train_time_interval=self._triggers.train_time_interval,
        )

    def state_dict(self) -> dict[str, Any]:
        watch = asdict(self._watch) | {"saved_step": self._keeper.saved_step, "due_at_seconds": 0.0}
        return {"monitor": self.monitor, "dirpath": self.dirpath, **self._keeper.kept.state_dict(), "watch": watch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back the books as far as the files still exist, also when their folder was moved meanwhile."""
        self._keeper.kept = self._keeper.kept.restored(state_dict, self.dirpath, self._has_remote)
        self._resumed = state_dict.get("watch")

    # --- what users ask ---

    def format_checkpoint_name(
        self,
        metrics: Mapping[str, Tensor | float],
        filename: str | None = None,
        ver: int | None = None,
        prefix: str | None = None,
    ) -> str:
        """Return the path of a checkpoint with these metrics, in ``dirpath`` once that's known.

        Override it for names of your own; they have to end in ``FILE_EXTENSION``.
        """
        style = self._style(self.auto_insert_metric_name)
        name = style.template(filename or self.filename).fill(metrics)
        parts = [prefix, name, None if ver is None else f"v{ver}"]
        return join(self.dirpath or "", style.join.join(part for part in parts if part) + style.extension)

    def file_exists(self, filepath: str | os.PathLike[str], trainer: Run) -> bool:
        """Return whether rank 0 finds something at a path. Collective."""
        return bool(trainer.broadcast(is_taken(trainer, str(filepath))))

    def check_monitor_top_k(self, trainer: Run, current: Tensor | None = None) -> bool:
        """Return whether a checkpoint with this score would be kept, if all ranks say so. Collective."""
        return current is not None and trainer.agree(self._keeper.kept.top_k.would_keep(current))

    def to_yaml(self, filepath: str | os.PathLike[str] | None = None) -> None:
        """Write ``best_k_models``, by default to ``best_k_models.yaml`` in ``dirpath``.

        Raises:
            ValueError: the file would be remote.
        """
        path = filepath or join(self.dirpath or "", "best_k_models.yaml")
        if is_remote(path):
            message = f"`filepath` must be local, not {str(path)!r}: pass one, since checkpoints go to a remote store."
            raise ValueError(message)
        commit_text(path, self._keeper.kept.top_k.as_yaml())

    # --- the moments at which it may save ---

    def setup(self, trainer: Run, pl_module: Any, stage: str) -> None:
        self._dirpath = self._keeper.folder = trainer.broadcast(self._dirpath or absolute(default_folder(trainer)))
        self._keeper.style = self._style(self.auto_insert_metric_name)
        self._has_remote = trainer.has_checkpoint
        if stage != TrainerFn.FITTING:
            return
        if self.save_last == "link" and is_remote(self._keeper.folder):
            message = f"`save_last='link'` needs a local `dirpath`, not {self.dirpath!r}; use `save_last=True`."
            raise ValueError(message)
        if self.save_top_k != 0 and not self.best_model_path:
            _warn_of_other_runs(self._keeper.folder, trainer, self._keeper.rules.enable_version_counter)

    def teardown(self, trainer: Run, pl_module: Any, stage: str) -> None:
        self._has_remote = None

    def on_train_start(self, trainer: Run, pl_module: Any) -> None:
        # Where a run starts, its checkpoint exists or it's worth none; where it goes on, the file knows.
        new = {"saved_step": trainer.global_step, "seen_step": trainer.global_step}
        facts, self._resumed = dict(self._resumed or new), None
        self._keeper.saved_step = facts.pop("saved_step")
        self._watch = _Watch(**{**facts, "due_at_seconds": time.monotonic()})
        # Ranks may see a shared folder with delay: rank 0's view of what exists holds for all.
        self._keeper.kept = trainer.broadcast(self._keeper.kept)

    def on_train_batch_end(self, trainer: Run, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (
            not self._triggers.watches_batches
            or self._should_skip_saving_checkpoint(trainer)
            or not self._batch_is_due(trainer)
        ):
            return
        self._watch.is_deferred = self._must_wait(trainer)
        if not self._watch.is_deferred:
            self._save(trainer)

    def on_validation_end(self, trainer: Run, pl_module: Any) -> None:
        self._watch.has_validated |= not trainer.sanity_checking
        if self._should_skip_saving_checkpoint(trainer):
            return
        at_validation_end = not self._should_save_on_train_epoch_end(trainer)
        is_due = at_validation_end and self._triggers.epoch_is_due(trainer.current_epoch)
        if is_due or (self._watch.is_deferred and not self._metric_is_missing(trainer)):
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Run, pl_module: Any) -> None:
        if self._should_skip_saving_checkpoint(trainer):
            return
        at_epoch_end = self._should_save_on_train_epoch_end(trainer)
        if self._watch.is_deferred or (at_epoch_end and self._triggers.epoch_is_due(trainer.current_epoch)):
            self._save(trainer)

    def on_exception(self, trainer: Run, pl_module: Any, exception: BaseException) -> None:
        if self.save_on_exception and not self._should_skip_saving_checkpoint(trainer):
            self._keeper.keep_failure(trainer)
            self._announce(trainer)

    def on_train_end(self, trainer: Run, pl_module: Any) -> None:
        if self.save_last and not self.last_model_path and not self._should_skip_saving_checkpoint(trainer):
            self._keeper.keep_last(trainer)
            self._announce(trainer)

    def _batch_is_due(self, trainer: Run) -> bool:
        """Whether one of the batch triggers says so. Collective where time decides: rank 0's clock counts."""
        seen, self._watch.seen_step = self._watch.seen_step, trainer.global_step
        if self._triggers.train_time_interval is None:
            return self._triggers.step_is_due(seen, trainer.global_step)
        seconds = time.monotonic() - self._watch.due_at_seconds
        return bool(trainer.broadcast(self._triggers.time_is_due(seconds)))

    def _must_wait(self, trainer: Run) -> bool:
        """Whether a batch trigger has to wait for its metric: it's missing, or validation is about to renew it."""
        if self.monitor is None:
            return False
        is_about_to_be_renewed = (
            trainer.is_last_batch
            and not self._should_save_on_train_epoch_end(trainer)
            and validation_may_follow(trainer)
        )
        return is_about_to_be_renewed or self._metric_is_missing(trainer)

    def _metric_is_missing(self, trainer: Run) -> bool:
        return self.monitor is not None and self._keeper.score(trainer) is None

    def _save(self, trainer: Run) -> None:
        self._watch.is_deferred = False
        self._watch.due_at_seconds = time.monotonic()
        self._keeper.keep(trainer, has_validated=self._watch.has_validated)
        if self._keeper.saved_step == trainer.global_step:
            self._announce(trainer)

    def _announce(self, trainer: Run) -> None:
        """Tell the loggers, which may upload what was saved."""
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.after_save_checkpoint(self)

    # --- private, but subclasses in code written for Lightning override them by these names ---

    def _should_skip_saving_checkpoint(self, trainer: Run) -> bool:
        """Say whether nothing may be saved now: this is no real fitting, or this step's checkpoint exists."""
        return (
            self._keeper.saved_step == trainer.global_step
            or trainer.sanity_checking
            or bool(trainer.fast_dev_run)
            or trainer.state.fn is not TrainerFn.FITTING
        )

    def _should_save_on_train_epoch_end(self, trainer: Run) -> bool:
        """Say whether checkpoints are made when the training epoch ends, rather than after validation."""
        return decides_at_train_epoch_end(trainer, self.save_on_train_epoch_end)

    def _save_checkpoint(self, trainer: Run, filepath: str) -> None:
        """Write a checkpoint that's due."""
        trainer.save_checkpoint(filepath, weights_only=self.save_weights_only)

    def _remove_checkpoint(self, trainer: Run, filepath: str) -> None:
        """Remove a checkpoint that was displaced."""
        trainer.remove_checkpoint(filepath)


def _check_save_top_k(save_top_k: int, monitor: str | None) -> None:
    if not isinstance(save_top_k, int) or isinstance(save_top_k, bool) or save_top_k < KEEP_ALL:
        message = f"`save_top_k` must be -1 (all), 0 (none) or the number to keep, not {save_top_k!r}."
        raise MisconfigurationException(message)
    if monitor is None and save_top_k > 1:
        message = (
            f"`save_top_k={save_top_k}` needs `monitor`, the metric that says which are the best. "
            "Without it: -1 (all), 0 (none) or 1 (the newest)."
        )
        raise MisconfigurationException(message)


def _check_save_last(save_last: object) -> None:
    if save_last not in (None, True, False, "link"):
        message = f"`save_last` must be True, False, None or 'link', not {save_last!r}."
        raise MisconfigurationException(message)


def _warn_of_other_runs(folder: str, trainer: Run, enable_version_counter: bool) -> None:
    """Warn of files in a local folder; a run that goes on from one of them knows."""
    if trainer.ckpt_path is not None or is_remote(folder) or not visible_entries(folder):
        return
    then = "gets a version (`-v1`)" if enable_version_counter else "is overwritten"
    rank_zero_warn(f"The folder of checkpoints {folder!r} isn't empty: a name that's taken {then}.")
