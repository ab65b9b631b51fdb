"""What pickles call those classes of lt that Lightning's checkpoints mention."""

import sys
from typing import Final

_HOME: Final = "lightning.fabric.utilities.data"


def name_as_lightning_does() -> None:
    """Let pickles name the class of nested hyper-parameters as Lightning's do, so that both read each other's files.

    A class is pickled by its module's name. `lt_interfaces` isn't imported for this: as long as it isn't, nothing of it
    is pickled.
    """
    hyperparameters = sys.modules.get("lt_interfaces.hyperparameters")
    if hyperparameters is not None:
        hyperparameters.AttributeDict.__module__ = _HOME
