"""Looks for the largest batch size that fits into memory, before training."""

from typing import Any, ClassVar, Final

from torch.utils._pytree import tree_leaves

from lt_callbacks.batch_size_search import BatchSizeSearch
from lt_callbacks.out_of_memory import free_memory, is_oom_error
from lt_callbacks.tuned_attribute import TunedAttribute
from lt_callbacks.tuned_run import TunedRun, is_quick_trial
from lt_interfaces.callback import Callback
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.rank_zero import rank_zero_info, rank_zero_warn
from lt_interfaces.roles import Role
from lt_interfaces.spelling import did_you_mean

_MODES: Final = ("power", "binsearch")


class BatchSizeFinder(Callback):
    """Trains some steps with growing batch sizes when fitting starts, takes them back, and sets the largest that fits.

    The size is set wherever it's held under that name: in the module, the datamodule, and the hyper-parameters of both.
    ``train_dataloader()`` has to make its loaders with it, as they're asked for anew for each trial. No size is set
    that wasn't tried, nor one above the number of samples. Weights, optimizers and random states are as before.

    For training on one device. Validation, test and prediction aren't tried. A run that's resumed takes the size that
    was found in its first start.

    Args:
        mode: "power": double the size until it doesn't fit; "binsearch": then also halve the gap between what fits and
            what doesn't, until there's none.
        steps_per_trial: optimizer steps to take with each size.
        init_val: the first size to try; if it doesn't fit, smaller ones are tried.
        max_trials: how many sizes that fit are tried at most.
        batch_arg_name: the name under which the size is held.
        margin: the part of the size found that's left free, with "binsearch".
        max_val: the largest size to try.

    Raises:
        MisconfigurationException: for a wrong argument; when fitting starts, if nobody holds a size of that name, the
            loaders don't follow it, there's no training data, or there are several processes.
        RuntimeError: when fitting starts, if not even one sample fits.

    >>> BatchSizeFinder(mode="binsearch").optimal_batch_size is None  # until fitting has started
    True
    """

    role: ClassVar[Role | None] = Role.TUNER
    SUPPORTED_MODES: ClassVar[tuple[str, ...]] = _MODES

    def __init__(
        self,
        mode: str = "power",
        steps_per_trial: int = 3,
        init_val: int = 2,
        max_trials: int = 25,
        batch_arg_name: str = "batch_size",
        margin: float = 0.05,
        max_val: int = 8192,
    ) -> None:
        self._mode = _checked_mode(mode)
        counts = {
            "steps_per_trial": steps_per_trial,
            "init_val": init_val,
            "max_trials": max_trials,
            "max_val": max_val,
        }
        for name, count in counts.items():
            if not isinstance(count, int) or isinstance(count, bool) or count < 1:
                message = f"`{name}` must be a whole number >= 1, not {count!r}."
                raise MisconfigurationException(message)
        if not 0 <= margin < 1:
            message = f"`margin` must be a number from 0 on and below 1, not {margin!r}."
            raise MisconfigurationException(message)
        self._steps_per_trial, self._init_val, self._max_trials = steps_per_trial, init_val, max_trials
        self._name, self._margin, self._max_val = batch_arg_name, margin, max_val
        self.optimal_batch_size: int | None = None
        """What was found; ``None`` before."""

    def on_fit_start(self, trainer: TunedRun, pl_module: Any) -> None:
        if trainer.ckpt_path is not None and self.optimal_batch_size is not None:
            self.set_size(trainer, pl_module, self.optimal_batch_size)
        else:
            self.tune(trainer, pl_module)

    def on_validation_start(self, trainer: TunedRun, pl_module: Any) -> None:
        _warn_unless_fitting(trainer)

    def on_test_start(self, trainer: TunedRun, pl_module: Any) -> None:
        _warn_unless_fitting(trainer)

    def on_predict_start(self, trainer: TunedRun, pl_module: Any) -> None:
        _warn_unless_fitting(trainer)

    def tune(self, trainer: TunedRun, pl_module: Any) -> None:
        """Try sizes and set the largest that fits; does what `scale_batch_size` does."""
        self.scale_batch_size(trainer, pl_module)

    def scale_batch_size(self, trainer: TunedRun, pl_module: Any) -> None:
        """Try sizes and set the largest that fits. To be called in ``on_fit_start``, before loaders are there."""
        if is_quick_trial(trainer, "a batch size"):
            return
        if trainer.training or trainer.world_size > 1:
            message = (
                "A batch size can be looked for when fitting starts, in one process. Call `scale_batch_size` in"
                " `on_fit_start`; with several processes find the size with `Trainer(devices=1)` first and set it."
            )
            raise MisconfigurationException(message)
        size = self._attribute(trainer, pl_module)
        before = size.get()
        try:
            self.optimal_batch_size = self._searched(trainer, size)
        finally:
            size.set(self.optimal_batch_size or before)
        rank_zero_info(f"BatchSizeFinder: `{self._name}` is {self.optimal_batch_size} now.")

    def set_size(self, trainer: TunedRun, pl_module: Any, size: int) -> None:
        """Let the module, the datamodule and their hyper-parameters hold a size, whoever has one."""
        self._attribute(trainer, pl_module).set(size)

    def state_dict(self) -> dict[str, Any]:
        return {} if self.optimal_batch_size is None else {"optimal_batch_size": self.optimal_batch_size}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.optimal_batch_size = state_dict.get("optimal_batch_size")

    def _searched(self, trainer: TunedRun, size: TunedAttribute) -> int:
        trials = _Trials(trainer, size, self._steps_per_trial)
        search = BatchSizeSearch(trials.fits, max_val=self._max_val, max_trials=self._max_trials)
        trials.search = search
        if self._mode == "power":
            found = search.by_doubling(self._init_val)
        else:
            found = search.by_bisecting(self._init_val, self._margin)
        if found is None:
            message = f"Not even a batch of one sample fits into memory ({trials.last_error})."
            raise RuntimeError(message)
        return found

    def _attribute(self, trainer: TunedRun, pl_module: Any) -> TunedAttribute:
        """Return where the size is held."""
        attribute = TunedAttribute(self._name, [pl_module, trainer.datamodule])
        if attribute.is_held:
            return attribute
        message = (
            f"Neither `{type(pl_module).__name__}` nor its datamodule, nor the hyper-parameters of one, have"
            f" `{self._name}` to hold a batch size. Add it and use it in `train_dataloader()`, or name another by"
            " `batch_arg_name`."
        )
        raise MisconfigurationException(message)


class _Trials:
    """Trains some steps with a batch size, and looks whether the loaders follow it."""

    def __init__(self, trainer: TunedRun, size: TunedAttribute, steps: int) -> None:
        self._trainer = trainer
        self._size = size
        self._steps = steps
        self._before: tuple[int, list[Any]] | None = None
        self.search: BatchSizeSearch | None = None
        self.last_error = ""

    def fits(self, size: int) -> bool:
        """Train with batches of this size; whether memory sufficed.

        Raises:
            MisconfigurationException: the loaders have no batch, or are the same for two sizes.
        """
        self._size.set(size)
        does_fit = self._trains(size)
        if not does_fit:  # here the error is gone, and with it what it held
            free_memory()
            rank_zero_info(f"BatchSizeFinder: a batch size of {size} doesn't fit.")
        return does_fit

    def _trains(self, size: int) -> bool:
        try:
            with self._trainer.trial_run(self._steps) as losses:
                if not sum(1 for _ in losses):
                    message = "There's no training batch to try batch sizes with."
                    raise MisconfigurationException(message)
                self._look_at_loaders(size)
        except Exception as error:
            if not is_oom_error(error):
                raise
            self.last_error = f"{type(error).__name__}: {error}"
            return False
        return True

    def _look_at_loaders(self, size: int) -> None:
        loaders = _loaders(self._trainer.train_dataloader)
        counts = [count for loader in loaders if (count := _num_samples(loader)) is not None]
        if counts and self.search is not None:
            self.search.max_val = min(self.search.max_val, max(counts))
        shapes = [_shape(loader) for loader in loaders]
        if self._before is not None and size != self._before[0] and shapes == self._before[1]:
            message = (
                f"The training loaders are the same with `{self._size.name}={self._before[0]}` and with {size}. Make"
                " them with it in `train_dataloader()` of the module or the datamodule; loaders that are passed to"
                " `fit` can't follow it."
            )
            raise MisconfigurationException(message)
        self._before = size, shapes


def _loaders(given: Any) -> list[Any]:
    """Return the loaders of a collection of any kind."""
    return list(getattr(given, "flattened", None) or tree_leaves(given))


def _num_samples(loader: Any) -> int | None:
    """Return how many samples a loader reads, ``None`` where it doesn't say."""
    try:
        return len(loader.dataset)
    except (AttributeError, TypeError, NotImplementedError):
        return None


def _shape(loader: Any) -> Any:
    """Return what tells apart two loaders for different batch sizes; for one of which nothing is known itself."""
    sizes = [getattr(owner, "batch_size", None) for owner in (loader, getattr(loader, "batch_sampler", None))]
    known = next((size for size in sizes if size is not None), None)
    return id(loader) if known is None else known


def _checked_mode(mode: str) -> str:
    if isinstance(mode, str) and mode.lower() in _MODES:
        return mode.lower()
    message = f"`mode` must be 'power' or 'binsearch', not {mode!r}.{did_you_mean(str(mode), _MODES)}"
    raise MisconfigurationException(message)


def _warn_unless_fitting(trainer: TunedRun) -> None:
    if trainer.state.fn is not None and trainer.state.fn.value != "fit" and not trainer.fast_dev_run:
        rank_zero_warn("BatchSizeFinder looks for a batch size when fitting starts; here it does nothing.")
