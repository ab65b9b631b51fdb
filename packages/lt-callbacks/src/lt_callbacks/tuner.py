"""Looks for learning rates and batch sizes without training: a front door to the finders."""

from collections.abc import Callable
from typing import Any, ClassVar, Protocol

from lt_callbacks.batch_size_finder import BatchSizeFinder
from lt_callbacks.learning_rate_finder import LearningRateFinder
from lt_callbacks.learning_rate_search import LearningRateSearch
from lt_callbacks.tuned_run import TunedRun
from lt_interfaces.callback import Callback
from lt_interfaces.errors import EndOfFit, MisconfigurationException
from lt_interfaces.rng import isolate_rng
from lt_interfaces.roles import Role

Finder = LearningRateFinder | BatchSizeFinder
Search = Callable[[TunedRun, Any], None]


class FittingTrainer(TunedRun, Protocol):
    """A Trainer, as far as a tuner needs it."""

    callbacks: list[Any]

    def fit(
        self, model: Any, *, train_dataloaders: Any = None, val_dataloaders: Any = None, datamodule: Any = None
    ) -> None:
        """Train the module."""


class Tuner:
    """Looks for a learning rate or a batch size for a module, and sets what it finds.

    The Trainer's `fit` is begun and ends when the search is through; the Trainer, the weights and the random states are
    as before, and the next `fit` trains from the start. Derive from it to change what's searched with.

    Args:
        trainer: the Trainer that the module will be trained with.

    Example::

        tuner = Tuner(trainer)
        tuner.scale_batch_size(model, mode="binsearch")
        search = tuner.lr_find(model)
        search.plot(suggest=True, show=True)
        trainer.fit(model)  # with what was found
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer: FittingTrainer = trainer

    def scale_batch_size(
        self,
        model: Any,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        dataloaders: Any = None,
        datamodule: Any = None,
        method: str = "fit",
        mode: str = "power",
        steps_per_trial: int = 3,
        init_val: int = 2,
        max_trials: int = 25,
        batch_arg_name: str = "batch_size",
        margin: float = 0.05,
        max_val: int = 8192,
    ) -> int | None:
        """Look for the largest batch size that fits into memory, and set it, as `BatchSizeFinder` does.

        Args:
            model: the module.
            train_dataloaders: a datamodule, or nothing: the module's loaders are used. Loaders can't follow the size.
            val_dataloaders: as in `fit`.
            dataloaders: of other methods than ``fit``, which aren't supported.
            datamodule: gives the loaders.
            method: "fit".
            mode: "power" or "binsearch".
            steps_per_trial: optimizer steps to take with each size.
            init_val: the first size to try.
            max_trials: how many sizes that fit are tried at most.
            batch_arg_name: the name under which the size is held.
            margin: the part of the size found that's left free, with "binsearch".
            max_val: the largest size to try.

        Returns:
            The size; ``None`` under ``fast_dev_run``.

        Raises:
            MisconfigurationException: for wrong arguments, and as `BatchSizeFinder` does.
            RuntimeError: not even one sample fits.
        """
        _check_method(method, dataloaders)
        if train_dataloaders is not None and not hasattr(train_dataloaders, "train_dataloader"):
            message = (
                "`train_dataloaders` was given, but loaders can't follow the batch size. Make them in"
                " `train_dataloader()` of the module or of a datamodule, with the size that's held there."
            )
            raise MisconfigurationException(message)
        finder = BatchSizeFinder(mode, steps_per_trial, init_val, max_trials, batch_arg_name, margin, max_val)
        data = {"train_dataloaders": train_dataloaders, "val_dataloaders": val_dataloaders, "datamodule": datamodule}
        self._try(finder, finder.tune, model, data)
        if finder.optimal_batch_size is not None:  # once more, as the search may have run in another process
            finder.set_size(self._trainer, self._trainer.lightning_module, finder.optimal_batch_size)
        return finder.optimal_batch_size

    def lr_find(
        self,
        model: Any,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        dataloaders: Any = None,
        datamodule: Any = None,
        method: str = "fit",
        min_lr: float = 1e-8,
        max_lr: float = 1,
        num_training: int = 100,
        mode: str = "exponential",
        early_stop_threshold: float | None = 4.0,
        update_attr: bool = True,
        attr_name: str = "",
    ) -> LearningRateSearch | None:
        """Look for a learning rate, and set it, as `LearningRateFinder` does.

        Args:
            model: the module.
            train_dataloaders: as in `fit`.
            val_dataloaders: as in `fit`.
            dataloaders: of other methods than ``fit``, which aren't supported.
            datamodule: as in `fit`.
            method: "fit".
            min_lr: the first rate that's tried.
            max_lr: the last.
            num_training: optimizer steps to try.
            mode: "exponential" or "linear".
            early_stop_threshold: stop when the loss is that many times its lowest; ``None``: never.
            update_attr: set the rate that was found; else it's only suggested.
            attr_name: where the module holds its rate, unless it's ``lr`` or ``learning_rate``.

        Returns:
            The losses by rate, with a suggestion; ``None`` under ``fast_dev_run``.

        Raises:
            MisconfigurationException: for wrong arguments, and as `LearningRateFinder` does.
            AttributeError: the module has no attribute of that name.
        """
        _check_method(method, dataloaders)
        finder = LearningRateFinder(
            min_lr, max_lr, num_training, mode, early_stop_threshold, update_attr=update_attr, attr_name=attr_name
        )
        data = {"train_dataloaders": train_dataloaders, "val_dataloaders": val_dataloaders, "datamodule": datamodule}
        self._try(finder, finder.search, model, data)  # the next `fit` makes its own optimizer, with what's found
        if finder.found_rate is not None:  # once more, as the search may have run in another process
            finder.set_rate(self._trainer.lightning_module, finder.found_rate)
        return finder.optimal_lr

    def _try(self, finder: Finder, search: Search, model: Any, data: dict[str, Any]) -> None:
        """Begin to fit with this finder, which ends it, and leave the Trainer as it was."""
        trainer = self._trainer
        before = list(trainer.callbacks)
        if any(isinstance(callback, type(finder)) for callback in before):
            message = (
                f"The Trainer has a `{type(finder).__name__}` among its callbacks already, which searches when `fit`"
                " starts. Use one of the two: remove it, or call `fit` without a Tuner."
            )
            raise MisconfigurationException(message)
        trainer.callbacks = [_OnlySearches(finder, search), *before]
        try:
            with isolate_rng():
                trainer.fit(model, **data)
        finally:
            trainer.callbacks = before


class _OnlySearches(Callback):
    """Lets a finder search when fitting starts, and ends it there."""

    role: ClassVar[Role | None] = Role.TUNER

    def __init__(self, finder: Finder, search: Search) -> None:
        self._finder, self._search = finder, search

    def on_fit_start(self, trainer: TunedRun, pl_module: Any) -> None:
        self.tune(trainer, pl_module)
        raise EndOfFit

    def tune(self, trainer: TunedRun, pl_module: Any) -> None:
        """Search."""
        self._search(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        return self._finder.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._finder.load_state_dict(state_dict)


def _check_method(method: str, dataloaders: Any) -> None:
    if method != "fit":
        message = f"`method` must be 'fit', not {method!r}: settings are tried in training only."
        raise MisconfigurationException(message)
    if dataloaders is not None:
        message = "`dataloaders` is for evaluation. Pass `train_dataloaders` and `val_dataloaders`, or a datamodule."
        raise MisconfigurationException(message)
