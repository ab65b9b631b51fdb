"""Looks for a good learning rate before training, by trying ever larger ones."""

from typing import Any, ClassVar

from torch import Tensor
from torch.optim import Optimizer

from lt_callbacks.learning_rate_search import MODES, LearningRateSearch
from lt_callbacks.learning_rate_setting import set_learning_rate
from lt_callbacks.tuned_attribute import TunedAttribute
from lt_callbacks.tuned_run import TunedRun, is_quick_trial
from lt_interfaces.callback import Callback
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.rank_zero import rank_zero_info
from lt_interfaces.roles import Role

_USUAL_NAMES = ("lr", "learning_rate")


class LearningRateFinder(Callback):
    """Trains some steps with growing learning rates when fitting starts, takes them back, and sets the best rate.

    The best rate is the one at which the loss falls most steeply. It's set in the module (``lr`` or ``learning_rate``,
    as an attribute, a hyper-parameter or both) and in the optimizer, schedulers included. Training then is what it
    would have been with that rate from the start: weights, random states and data are as if nothing had been tried.
    Ranks decide on the mean of their losses, so all take the same rate.

    A run that's resumed goes on with the rates of its checkpoint; nothing is tried.

    Args:
        min_lr: the first rate that's tried.
        max_lr: the last.
        num_training_steps: optimizer steps to try. The data is gone through again where an epoch has less.
        mode: rates grow by a factor ("exponential") or by a difference ("linear").
        early_stop_threshold: stop when the loss is that many times its lowest; ``None``: never.
        update_attr: set the rate that was found; else it's only suggested.
        attr_name: where the module holds its rate, unless it's ``lr`` or ``learning_rate``.
        weights_only: accepted for compatibility; no file is written.

    Raises:
        MisconfigurationException: for a wrong argument; when fitting starts, for more than one optimizer or none.
        AttributeError: when fitting starts, if the module has no attribute and no hyper-parameter of that name.

    Call `lr_find` in hooks of your own to look again later::

        class AtSomeEpochs(LearningRateFinder):
            def on_fit_start(self, trainer, pl_module):
                return

            def on_train_epoch_start(self, trainer, pl_module):
                if trainer.current_epoch in (0, 5):
                    self.lr_find(trainer, pl_module)

    >>> LearningRateFinder(num_training_steps=50).optimal_lr is None  # until fitting has started
    True
    """

    role: ClassVar[Role | None] = Role.TUNER
    SUPPORTED_MODES: ClassVar[tuple[str, ...]] = MODES

    def __init__(
        self,
        min_lr: float = 1e-8,
        max_lr: float = 1,
        num_training_steps: int = 100,
        mode: str = "exponential",
        early_stop_threshold: float | None = 4.0,
        update_attr: bool = True,
        attr_name: str = "",
        weights_only: bool | None = None,
    ) -> None:
        self._settings = (mode.lower() if isinstance(mode, str) else mode, min_lr, max_lr, num_training_steps)
        LearningRateSearch(*self._settings)  # checks them now
        if early_stop_threshold is not None and not early_stop_threshold >= 1:
            message = f"`early_stop_threshold` must be None or a number >= 1, not {early_stop_threshold!r}."
            raise MisconfigurationException(message)
        self._threshold = early_stop_threshold
        self._update_attr = update_attr
        self._attr_name = attr_name
        self.optimal_lr: LearningRateSearch | None = None
        """What was found: losses by rate, a suggestion, a picture; ``None`` before."""
        self.found_rate: float | None = None
        """The rate that was set, if one was."""

    def on_fit_start(self, trainer: TunedRun, pl_module: Any) -> None:
        if trainer.ckpt_path is None:
            self.tune(trainer, pl_module)
        else:
            rank_zero_info("LearningRateFinder: training goes on with the learning rates of the checkpoint.")

    def tune(self, trainer: TunedRun, pl_module: Any) -> None:
        """Try rates and set the best; does what `lr_find` does."""
        self.lr_find(trainer, pl_module)

    def lr_find(self, trainer: TunedRun, pl_module: Any) -> None:
        """Try rates and set the best. Collective with several ranks."""
        self.search(trainer, pl_module)
        if self.found_rate is not None:
            schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
            set_learning_rate(_only_optimizer(trainer), schedulers, self.found_rate)

    def search(self, trainer: TunedRun, pl_module: Any) -> None:
        """Try rates and let the module hold the best; the optimizer keeps its own. Collective with several ranks."""
        self.found_rate = None
        if is_quick_trial(trainer, "a learning rate"):
            return
        optimizer = _only_optimizer(trainer)
        if self._update_attr:
            self._attribute(pl_module)  # refuses now, not after the search
        self.optimal_lr = self._searched(trainer, pl_module, optimizer)
        self.found_rate = self.optimal_lr.suggestion() if self._update_attr else None
        if self.found_rate is not None:
            self.set_rate(pl_module, self.found_rate)
            rank_zero_info(f"LearningRateFinder: the learning rate is {self.found_rate:g} now.")

    def set_rate(self, pl_module: Any, rate: float) -> None:
        """Let the module hold a rate, as an attribute, a hyper-parameter or both."""
        self._attribute(pl_module).set(rate)

    def state_dict(self) -> dict[str, Any]:
        if self.optimal_lr is None:
            return {}
        results, rate = self.optimal_lr.results, self.found_rate
        return {"settings": list(self._settings), "results": results, "found_rate": rate}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict:
            self.optimal_lr = LearningRateSearch(*state_dict["settings"])
            self.optimal_lr.results = state_dict["results"]
            self.found_rate = state_dict["found_rate"]

    def _searched(self, trainer: TunedRun, pl_module: Any, optimizer: Optimizer) -> LearningRateSearch:
        """Train with growing rates until all were tried or the loss has diverged, and take it back."""
        search = LearningRateSearch(*self._settings)
        rates = search.rates()
        with trainer.trial_run(search.num_training) as losses:
            for rate in rates:
                _use(optimizer, rate)
                loss = next(losses, None)
                if loss is None:
                    break
                search.add(rate, _mean_over_ranks(loss, trainer, pl_module))
                if self._threshold is not None and search.has_diverged(self._threshold):
                    rank_zero_info(
                        f"LearningRateFinder: the loss has risen too far at {rate:g}; no larger rate is tried."
                    )
                    break
        return search

    def _attribute(self, pl_module: Any) -> TunedAttribute:
        """Return where the module holds its rate."""
        names = [self._attr_name] if self._attr_name else _USUAL_NAMES
        found = [attribute for name in names if (attribute := TunedAttribute(name, [pl_module])).is_held]
        if found:
            return found[0]
        message = (
            f"`{type(pl_module).__name__}` has neither an attribute nor a hyper-parameter called"
            f" {' or '.join(f'`{name}`' for name in names)} to hold the learning rate that's found. Give it one that"
            " `configure_optimizers` uses, name another by `attr_name`, or pass `update_attr=False`."
        )
        raise AttributeError(message)


def _only_optimizer(trainer: TunedRun) -> Optimizer:
    optimizers = trainer.optimizers
    if len(optimizers) == 1:
        return optimizers[0]
    message = (
        f"A learning rate can be looked for with one optimizer, but `configure_optimizers` gave {len(optimizers)}."
    )
    raise MisconfigurationException(message)


def _use(optimizer: Optimizer, rate: float) -> None:
    """Let all parameter groups take their next step with this rate."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def _mean_over_ranks(loss: Tensor, trainer: TunedRun, pl_module: Any) -> float:
    """Return the loss as a number; with several ranks their mean, so that all decide alike."""
    if trainer.world_size == 1:
        return loss.item()
    mean: Tensor = pl_module.all_gather(loss.float()).mean()
    return mean.item()
