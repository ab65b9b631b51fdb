"""What a due checkpoint means: its name, whether it's among the best, ``last``, and what it displaces."""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from torch import Tensor

from lt_callbacks.checkpoint_folder import free_path, is_remote, may_remove, point_to
from lt_callbacks.checkpoint_names import NameTemplate
from lt_callbacks.kept_checkpoints import KeptCheckpoints
from lt_callbacks.run import Run
from lt_callbacks.top_k import comparable
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.rank_zero import WarningCache, rank_zero_info, rank_zero_warn
from lt_interfaces.spelling import did_you_mean


@dataclass(frozen=True)
class NameStyle:
    """The fixed parts of checkpoint names."""

    join: str = "-"
    equals: str = "="
    last: str = "last"
    extension: str = ".ckpt"
    first_version: int = 1
    """The number of the first file whose name was taken."""
    insert_names: bool = True

    @property
    def epoch_and_step(self) -> str:
        """The file name where the user gave none."""
        return self.join.join(["{epoch}", "{step}"])

    def template(self, filename: str | None) -> NameTemplate:
        """Return the template of a file name, by default the one of epoch and step."""
        return NameTemplate(filename or self.epoch_and_step, self.insert_names, self.equals)


@dataclass(frozen=True)
class KeepingRules:
    """What the user said about which checkpoints to keep, and how."""

    filename: str | None = None
    monitor: str | None = None
    verbose: bool = False
    save_last: bool | Literal["link"] | None = None
    weights_only: bool = False
    enable_version_counter: bool = True


@dataclass(frozen=True)
class SavingActions:
    """What the callback does itself, so that its subclasses may do it otherwise."""

    name: Callable[[Mapping[str, Tensor | float], str | None], str]
    """Returns the path of a checkpoint with these metrics, by a template or the callback's own."""
    save: Callable[[Run, str], None]
    remove: Callable[[Run, str], None]


class CheckpointKeeper:
    """Saves due checkpoints and deletes displaced ones, in an order that survives a kill at any moment.

    The books change before a file is written, so that the file tells of itself; a failed save takes them back.
    Everything is decided on values over all ranks, and rank 0 says which names are free: call it on every rank.
    """

    def __init__(self, rules: KeepingRules, style: NameStyle, kept: KeptCheckpoints, actions: SavingActions) -> None:
        self.rules = rules
        self._actions = actions
        self.style = style
        self.kept = kept
        self.folder = ""
        self.saved_step = 0
        """The optimizer step of the newest checkpoint."""
        self._warnings = WarningCache()

    def keep(self, trainer: Run, *, has_validated: bool) -> None:
        """Save what's due now: one more of the best if it belongs there, and ``last``; then delete what they displaced.

        Raises:
            MisconfigurationException: a metric of the name is missing, or ``monitor`` is though validation has run.
        """
        with self._books_of(trainer):
            newest = self._keep_among_best(trainer, has_validated=has_validated)
            if self.rules.save_last:
                self._save_last(trainer, newest)

    def keep_last(self, trainer: Run) -> None:
        """Save ``last`` alone."""
        with self._books_of(trainer):
            self._save_last(trainer, newest=None)

    def keep_failure(self, trainer: Run) -> None:
        """Save a run that's about to end by an exception, outside of the books of the best."""
        with self._books_of(trainer):
            path = self._failure_path(trainer)
            self._write(trainer, path)
            if self.rules.save_last:
                self._save_last(trainer, newest=path)

    def score(self, trainer: Run) -> Tensor | None:
        """Return the monitored metric over all ranks, ``None`` while it hasn't been logged. Collective."""
        return None if self.rules.monitor is None else trainer.reduced(self.rules.monitor)

    @contextmanager
    def _books_of(self, trainer: Run) -> Iterator[None]:
        """Enter ``last`` into the books; at the end delete what the new books leave out, or go back to the old ones."""
        before = self.kept
        try:
            if self.rules.save_last:
                path = self._new_path(trainer, self.style.last, replacing=before.last_model_path)
                self.kept = replace(before, last_model_path=path)
            yield
        except BaseException:
            self.kept = before
            raise
        for path in before.displaced_by(self.kept):
            if may_remove(path, folder=self.folder, resumed_from=trainer.ckpt_path):
                self._actions.remove(trainer, path)

    def _keep_among_best(self, trainer: Run, *, has_validated: bool) -> str | None:
        """Save and return the path, or return ``None`` when it isn't among the best."""
        top_k = self.kept.top_k
        if self.rules.monitor is None:
            return self._keep_newest(trainer) if top_k.k != 0 else None
        score = self.score(trainer)
        if score is None:
            self._tell_missing(trainer, has_validated=has_validated)
            return None
        self.kept = replace(self.kept, current_score=comparable(score, top_k.mode))
        if trainer.agree(top_k.would_keep(score)):
            return self._keep_scored(trainer, score)
        self._tell(trainer, f"`{self.rules.monitor}` = {float(score):.5f} is not among the best {top_k.k}")
        return None

    def _keep_newest(self, trainer: Run) -> str:
        path = self._new_path(trainer, self.rules.filename, replacing=self.kept.best_model_path)
        self.kept = replace(self.kept, best_model_path=path)
        self._write(trainer, path)
        return path

    def _keep_scored(self, trainer: Run, score: Tensor) -> str:
        path = self._new_path(trainer, self.rules.filename, replacing=self.kept.top_k.next_displaced)
        top_k = self.kept.top_k.with_saved(path, score)
        self.kept = replace(self.kept, top_k=top_k, best_model_path=top_k.best_path)
        self._write(trainer, path)
        self._tell(trainer, f"`{self.rules.monitor}` = {float(score):.5f} is among the best, saved as {path!r}")
        return path

    def _save_last(self, trainer: Run, newest: str | None) -> None:
        """Save under the name of ``last``, or let it point to the checkpoint that was just saved."""
        path = self.kept.last_model_path
        if self.rules.save_last != "link" or newest is None:
            self._write(trainer, path)
            return
        if trainer.is_global_zero and trainer.has_checkpoint(newest):  # waits for one that's written in the background
            point_to(newest, path)
        trainer.broadcast(path)  # nobody goes on before the link is there

    def _write(self, trainer: Run, path: str) -> None:
        before, self.saved_step = self.saved_step, trainer.global_step  # what's saved knows that it was
        try:
            self._actions.save(trainer, path)
        except BaseException:
            self.saved_step = before
            raise

    def _new_path(self, trainer: Run, filename: str | None, *, replacing: str | None) -> str:
        """Return the path of a checkpoint saved now, one that's free unless it may be replaced. Collective."""
        template = self.style.template(filename)
        extension = self.style.extension
        path = self._actions.name(_metrics_over_ranks(trainer, template.metric_names), filename)
        if not self.rules.enable_version_counter:
            return path
        if trainer.is_global_zero:
            is_known = partial(_is_known_or_taken, trainer, self.kept.paths())
            first = self.style.first_version
            stem = path.removesuffix(extension)
            path = free_path(stem, extension, replacing=replacing, exists=is_known, first_version=first)
        agreed: str = trainer.broadcast(path)
        return agreed

    def _failure_path(self, trainer: Run) -> str:
        try:
            return self._new_path(trainer, self.rules.filename, replacing=None)
        except MisconfigurationException as error:
            # The failure that ends the run matters more than the file's name.
            rank_zero_warn(f"{error} The checkpoint of this failure gets the default name.")
            return self._new_path(trainer, self.style.epoch_and_step, replacing=None)

    def _tell_missing(self, trainer: Run, *, has_validated: bool) -> None:
        monitor, logged = self.rules.monitor, sorted(trainer.callback_metrics)
        message = (
            f"`ModelCheckpoint(monitor={monitor!r})` found no such metric.{did_you_mean(monitor or '', logged)} "
            f"Logged so far: {logged}. Log it with `self.log({monitor!r}, ...)` before a checkpoint is due."
        )
        if has_validated:
            raise MisconfigurationException(message)
        self._warnings.warn(message)

    def _tell(self, trainer: Run, what: str) -> None:
        if self.rules.verbose:
            rank_zero_info(f"Epoch {trainer.current_epoch}, step {trainer.global_step}: {what}.")


def _is_known_or_taken(trainer: Run, kept: Collection[str], path: str) -> bool:
    """Say whether something is at a path, or will be when what's written in the background is there."""
    return path in kept or is_taken(trainer, path)


def is_taken(trainer: Run, path: str) -> bool:
    """Say whether something is at a path, local or remote."""
    return trainer.has_checkpoint(path) if is_remote(path) else os.path.lexists(path)


def _metrics_over_ranks(trainer: Run, names: Iterable[str]) -> dict[str, Tensor | float]:
    """Return the values a name is made of, over all ranks, beside what else has been logged. Collective."""
    reduced = {name: trainer.reduced(name) for name in names}
    return {
        "epoch": trainer.current_epoch,
        "step": trainer.global_step,
        **trainer.callback_metrics,
        **{name: value for name, value in reduced.items() if value is not None},
    }
