"""The tuner, with what code written for Lightning does to the strategy while it tunes."""

from typing import Any

import lt_callbacks
from lt_interfaces.reinstantiation import read_checkpoint


class Tuner(lt_callbacks.Tuner):
    """Looks for learning rates and batch sizes, as `lt_callbacks.Tuner` does; derive from it as from Lightning's.

    The Trainer's strategy gets a ``load_checkpoint(path, weights_only=None)``. Lightning's tuner goes back to a file
    through it, so derived tuners wrap it to allow objects in that file; ours goes back without one.

    Args:
        trainer: the Trainer that the module will be trained with.
    """

    def __init__(self, trainer: Any) -> None:
        super().__init__(trainer)
        if not hasattr(trainer.strategy, "load_checkpoint"):
            trainer.strategy.load_checkpoint = read_checkpoint
