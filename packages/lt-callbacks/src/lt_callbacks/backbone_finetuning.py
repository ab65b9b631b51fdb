"""Training a module's head first, and its backbone later and more slowly."""

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer

from lt_callbacks.finetuning import BaseFinetuning
from lt_callbacks.run import PlacedRun
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.rank_zero import rank_zero_info


def multiplicative(epoch: int) -> float:
    """Return the factor by which the backbone's learning rate grows in each epoch: two."""
    return 2.0


class BackboneFinetuning(BaseFinetuning):
    """Freezes ``pl_module.backbone`` at first; from a certain epoch on trains it, with a learning rate that grows.

    Args:
        unfreeze_backbone_at_epoch: the epoch, counted from 0, from which on the backbone is trained.
        lambda_func: called with the number of epochs that will have been trained when this one ends; returns the factor
            by which the backbone's learning rate is multiplied at the start of each later epoch.
        backbone_initial_ratio_lr: the backbone's first learning rate, relative to that of the optimizer's first group.
        backbone_initial_lr: or that rate itself.
        should_align: whether the backbone's rate stays at that of the first group once it has reached it.
        initial_denom_lr: accepted for compatibility; the first rate is said by the two above.
        train_bn: whether batch norm layers of the backbone are trained, from the start; if not, never.
        verbose: whether both rates are told in each epoch in which they may change.
        rounding: to how many digits they're told.

    Raises:
        MisconfigurationException: when fitting starts, with a module that has no ``backbone``, or several optimizers.

    >>> BackboneFinetuning(unfreeze_backbone_at_epoch=5, lambda_func=lambda epoch: 1.5).train_bn
    True
    """

    def __init__(
        self,
        unfreeze_backbone_at_epoch: int = 10,
        lambda_func: Callable[[int], float] = multiplicative,
        backbone_initial_ratio_lr: float = 10e-2,
        backbone_initial_lr: float | None = None,
        should_align: bool = True,
        initial_denom_lr: float = 10.0,
        train_bn: bool = True,
        verbose: bool = False,
        rounding: int = 12,
    ) -> None:
        super().__init__()
        self.unfreeze_backbone_at_epoch = unfreeze_backbone_at_epoch
        self.lambda_func = lambda_func
        self.backbone_initial_ratio_lr = backbone_initial_ratio_lr
        self.backbone_initial_lr = backbone_initial_lr
        self.should_align = should_align
        self.initial_denom_lr = initial_denom_lr
        self.train_bn = train_bn
        self.verbose = verbose
        self.rounding = rounding
        self.previous_backbone_lr: float | None = None
        """The backbone's learning rate; ``None`` while it has no group of its own."""
        self._is_unfrozen = False

    def state_dict(self) -> dict[str, Any]:
        own = {"previous_backbone_lr": self.previous_backbone_lr, "is_unfrozen": self._is_unfrozen}
        return {**super().state_dict(), **own}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.previous_backbone_lr = state_dict["previous_backbone_lr"]
        self._is_unfrozen = state_dict.get("is_unfrozen", self.previous_backbone_lr is not None)

    def freeze_before_training(self, pl_module: Any) -> None:
        if not hasattr(pl_module, "backbone"):
            message = (
                f"`BackboneFinetuning` needs a module with the attribute `backbone`, but {type(pl_module).__name__} has"
                " none. Call it so, or subclass `BaseFinetuning`."
            )
            raise MisconfigurationException(message)
        self.freeze(pl_module.backbone, train_bn=self.train_bn)

    def on_fit_start(self, trainer: PlacedRun, pl_module: Any) -> None:
        if len(trainer.optimizers) > 1:
            message = (
                f"`BackboneFinetuning` is for one optimizer, but `configure_optimizers` returned"
                f" {len(trainer.optimizers)}. Subclass `BaseFinetuning` to say which one trains the backbone."
            )
            raise MisconfigurationException(message)
        if trainer.current_epoch == 0 and not self._restarting:
            self.previous_backbone_lr, self._is_unfrozen = None, False  # another run with the same callback
        super().on_fit_start(trainer, pl_module)

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Optimizer) -> None:
        if epoch < self.unfreeze_backbone_at_epoch:
            return
        current_lr = optimizer.param_groups[0]["lr"]
        if not self._is_unfrozen:
            self._unfreeze(pl_module, optimizer, current_lr)
        elif self.previous_backbone_lr is not None:
            grown = self.lambda_func(epoch + 1) * self.previous_backbone_lr
            self.previous_backbone_lr = min(grown, current_lr) if self.should_align else grown
            optimizer.param_groups[-1]["lr"] = self.previous_backbone_lr
        if self.verbose and self.previous_backbone_lr is not None:
            rates = [round(float(rate), self.rounding) for rate in (current_lr, self.previous_backbone_lr)]
            rank_zero_info(f"Learning rates in epoch {epoch}: {rates[0]}, of the backbone {rates[1]}.")

    def _unfreeze(self, pl_module: Any, optimizer: Optimizer, current_lr: float) -> None:
        first_lr = self.backbone_initial_lr
        if first_lr is None:
            first_lr = current_lr * self.backbone_initial_ratio_lr
        num_groups = len(optimizer.param_groups)
        self.unfreeze_and_add_param_group(pl_module.backbone, optimizer, first_lr, train_bn=self.train_bn)
        self._is_unfrozen = True
        # An optimizer that holds all of the backbone already has no group of its own for it, whose rate could change.
        self.previous_backbone_lr = first_lr if len(optimizer.param_groups) > num_groups else None
