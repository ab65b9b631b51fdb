"""The mark of callbacks that write checkpoints."""

from typing import ClassVar

from lt_interfaces.callback import Callback
from lt_interfaces.roles import Role


class Checkpoint(Callback):
    """Base of callbacks that write checkpoints: they're heard last, after everything else has had its say.

    Subclass it for your own way of saving; the Trainer then adds no `ModelCheckpoint` of its own. For
    ``ckpt_path="best"`` and ``"last"`` give it the attributes of `lt_interfaces.roles.CheckpointRole`.
    """

    role: ClassVar[Role | None] = Role.CHECKPOINT
