"""The core of lt: `LightningModule`, `Trainer` and the loops between them."""

from lt_core.gradient_norms import grad_norm
from lt_core.module import LightningModule
from lt_core.optimizer import LightningOptimizer
from lt_core.trainer import Trainer
from lt_interfaces.callback import Callback
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.hooks import not_a_hook
from lt_interfaces.rng import seed_everything

__all__ = [
    "Callback",
    "LightningModule",
    "LightningOptimizer",
    "MisconfigurationException",
    "Trainer",
    "grad_norm",
    "not_a_hook",
    "seed_everything",
]
