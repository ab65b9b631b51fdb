"""What a run stands on: devices, precision, data position and checkpoints, for the Trainer and for your own loop."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from lt_fabric.assemble import assemble
from lt_fabric.cpu import CPUAccelerator
from lt_fabric.cuda import CUDAAccelerator
from lt_fabric.full_precision import FullPrecision
from lt_fabric.hardware import HardwareSpec, resolve_hardware
from lt_fabric.local_environment import LocalEnvironment
from lt_fabric.runtime import Runtime
from lt_fabric.single_device import SingleDeviceStrategy
from lt_fabric.window import SingleDeviceWindow
from lt_interfaces.rng import seed_everything

if TYPE_CHECKING:
    from lt_fabric.fabric import Fabric
    from lt_fabric.local_checkpoint import LocalCheckpointIO
    from lt_fabric.mps import MPSAccelerator
    from lt_fabric.schedules import CosineWithWarmup, ExponentialWarmup, LinearWarmup
    from lt_fabric.wrappers import is_wrapped

__all__ = [
    "CPUAccelerator",
    "CUDAAccelerator",
    "CosineWithWarmup",
    "ExponentialWarmup",
    "Fabric",
    "FullPrecision",
    "HardwareSpec",
    "LinearWarmup",
    "LocalCheckpointIO",
    "LocalEnvironment",
    "MPSAccelerator",
    "Runtime",
    "SingleDeviceStrategy",
    "SingleDeviceWindow",
    "assemble",
    "is_wrapped",
    "resolve_hardware",
    "seed_everything",
]

_ON_DEMAND: Final = {
    "CosineWithWarmup": "lt_fabric.schedules",
    "ExponentialWarmup": "lt_fabric.schedules",
    "Fabric": "lt_fabric.fabric",
    "LinearWarmup": "lt_fabric.schedules",
    "LocalCheckpointIO": "lt_fabric.local_checkpoint",
    "MPSAccelerator": "lt_fabric.mps",
    "is_wrapped": "lt_fabric.wrappers",
}


def __getattr__(name: str) -> Any:
    # What the Trainer doesn't always need comes when it's asked for: importing the front door would cost it 15 ms.
    if name in _ON_DEMAND:
        return getattr(import_module(_ON_DEMAND[name]), name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
