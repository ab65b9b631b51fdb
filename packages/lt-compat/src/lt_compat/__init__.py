"""Lets code written for Lightning run on lt, unchanged, and helps to leave the old names behind.

``import lt_compat`` before anything of Lightning's, or run the program by ``python -m lt_compat run SCRIPT``: from then
on ``lightning``, ``pytorch_lightning`` and ``lightning_fabric``, with the modules below them, resolve to the classes of
lt, each loaded when it's first used. Processes that the program starts find them too (through the environment variable
``LT_COMPAT``).

Where a real Lightning is installed nothing changes, and a warning says so; ``LT_COMPAT=force`` in the environment
prefers lt all the same.

>>> import lt_compat
>>> from lightning.pytorch.callbacks import EarlyStopping  # doctest: +SKIP
>>> EarlyStopping.__module__  # doctest: +SKIP
'lt_callbacks.early_stopping'
"""

from lt_compat.installation import install, stand_in

__all__ = ["install", "stand_in"]

install()
