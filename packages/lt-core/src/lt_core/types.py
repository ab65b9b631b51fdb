"""Types for annotating a `LightningModule`: what steps return, what `configure_optimizers` returns, what loaders are.

Import from here; nothing of lt does, so that a program that annotates nothing doesn't load it.

>>> from lt_core.types import STEP_OUTPUT
>>> def training_step(self, batch, batch_idx) -> STEP_OUTPUT: ...
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NotRequired, Required, TypeAlias, TypedDict

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from lt_interfaces.scheduling import LRSchedulerConfig

NUMBER: TypeAlias = int | float
"""A plain number."""
METRIC: TypeAlias = Tensor | int | float | Any
"""What ``self.log`` takes: a number, a tensor of shape ``()``, or a metric object with ``update`` and ``compute``."""
STEP_OUTPUT: TypeAlias = Tensor | Mapping[str, Any] | None
"""What a training step returns: the loss, a dict with it under ``"loss"``, or ``None`` to skip the batch."""
EVALUATE_OUTPUT: TypeAlias = list[Mapping[str, float]]
"""What ``trainer.validate`` and ``trainer.test`` return: the metrics of each loader."""
PREDICT_OUTPUT: TypeAlias = list[Any] | list[list[Any]]
"""What ``trainer.predict`` returns: one entry per batch, for several loaders a list of these for each."""
TRAIN_DATALOADERS: TypeAlias = Any
"""What ``train_dataloader`` returns: one loader, or any nest of loaders."""
EVAL_DATALOADERS: TypeAlias = Any
"""What the other loader methods return: one loader, or any nest of loaders."""

LRSchedulerPLType: TypeAlias = LRScheduler | ReduceLROnPlateau
"""A scheduler of torch's."""
LRSchedulerTypeUnion: TypeAlias = LRScheduler | ReduceLROnPlateau
"""The same as `LRSchedulerPLType`."""
LRSchedulerType: TypeAlias = type[LRScheduler] | type[ReduceLROnPlateau]
"""The class of a scheduler."""
LRSchedulerTypeTuple: Final = (LRScheduler, ReduceLROnPlateau)
"""The same for `isinstance`."""


class LRSchedulerConfigType(TypedDict, total=False):
    """The dict of a scheduler; `LRSchedulerConfig` says what its keys mean."""

    scheduler: Required[LRSchedulerPLType]
    name: str | None
    interval: str
    frequency: int
    reduce_on_plateau: bool
    monitor: str | None
    strict: bool


class OptimizerConfig(TypedDict):
    """The dict of an optimizer without a scheduler."""

    optimizer: Optimizer


class OptimizerLRSchedulerConfig(TypedDict):
    """The dict of an optimizer with its scheduler."""

    optimizer: Optimizer
    lr_scheduler: LRSchedulerPLType | LRSchedulerConfigType
    monitor: NotRequired[str]


OptimizerLRScheduler: TypeAlias = (
    Optimizer
    | Sequence[Optimizer]
    | tuple[Sequence[Optimizer], Sequence[LRSchedulerPLType | LRSchedulerConfig | LRSchedulerConfigType]]
    | OptimizerConfig
    | OptimizerLRSchedulerConfig
    | Sequence[OptimizerConfig]
    | Sequence[OptimizerLRSchedulerConfig]
    | None
)
"""Everything that ``configure_optimizers`` may return."""

__all__ = [
    "EVALUATE_OUTPUT",
    "EVAL_DATALOADERS",
    "METRIC",
    "NUMBER",
    "PREDICT_OUTPUT",
    "STEP_OUTPUT",
    "TRAIN_DATALOADERS",
    "LRSchedulerConfig",
    "LRSchedulerConfigType",
    "LRSchedulerPLType",
    "LRSchedulerType",
    "LRSchedulerTypeTuple",
    "LRSchedulerTypeUnion",
    "OptimizerConfig",
    "OptimizerLRScheduler",
    "OptimizerLRSchedulerConfig",
]
