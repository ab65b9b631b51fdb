import lt_callbacks as callbacks
import lt_checkpoint_io as checkpoint_io
import lt_core as core
import lt_datamodules as datamodules
import lt_deepspeed as deepspeed
import lt_fabric as fabric
import lt_fsdp as fsdp
import lt_interfaces as interfaces
import lt_loggers as loggers
import lt_precision as precision
import lt_strategies as strategies
from lt_core import LightningModule as LightningModule
from lt_core import Trainer as Trainer
from lt_datamodules import LightningDataModule as LightningDataModule
from lt_fabric import Fabric as Fabric
from lt_fabric import seed_everything as seed_everything
from lt_interfaces import Callback as Callback
from lt_interfaces import MisconfigurationException as MisconfigurationException
from lt_interfaces import not_a_hook as not_a_hook

__all__ = [
    "Callback",
    "Fabric",
    "LightningDataModule",
    "LightningModule",
    "MisconfigurationException",
    "Trainer",
    "callbacks",
    "checkpoint_io",
    "core",
    "datamodules",
    "deepspeed",
    "fabric",
    "fsdp",
    "interfaces",
    "loggers",
    "not_a_hook",
    "precision",
    "seed_everything",
    "strategies",
]

__version__: str
