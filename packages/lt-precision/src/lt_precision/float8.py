"""Training in 8-bit floating point through torchao: linear layers multiply in float8, everything else is mixed."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Final

import torch
from torch import nn

from lt_interfaces import PrecisionDtypes
from lt_interfaces.errors import MisconfigurationException
from lt_precision.casting import default_dtype
from lt_precision.engines import require_engine
from lt_precision.linear_layers import ModuleFilter, linear_layers, refuse_sizes, replaced
from lt_precision.unscaled import UnscaledPrecision

_RECIPES: Final = {"float8": "tensorwise", "float8-rowwise": "rowwise"}
_MULTIPLE: Final = 16  # of both sizes of a layer: torch's scaled matrix product takes no others
_FIRST_CAPABILITY: Final = (8, 9)  # Ada; before, NVIDIA's devices have no arithmetic for these formats
_WAY_OUT: Final = (
    "pass `plugins=Float8Precision({precision!r}, module_filter=lambda module, name: name not in {{names}})`."
)


class Float8Precision(UnscaledPrecision):
    """Weights in 32 bits, products of linear layers in float8, everything else in bfloat16 autocast.

    Scales are found anew for every product, so there's no state: checkpoints have the keys and formats of the module
    without float8, and go from one to the other. The layers are torchao's
    (https://docs.pytorch.org/ao/stable/, "float8 training"). It runs on NVIDIA devices from compute capability 8.9 on,
    and, slowly, on CPUs.

    Args:
        precision: ``"float8"`` scales whole tensors, which is fastest; ``"float8-rowwise"`` scales each row by a power
            of two, which is more exact.
        device: where it computes; found out by itself unless given.
        module_filter: ``(module, full_name) -> bool``, asked for each linear layer; ``True`` converts it. All are
            converted unless given.
        emulate: compute what float8 would give, for devices that lack it.

    Raises:
        MissingPackageError: torchao isn't installed.
        MisconfigurationException: from `convert_module`, for layers whose sizes aren't multiples of 16, or a device
            that has no float8.

    >>> precision = Float8Precision("float8", module_filter=lambda module, name: name != "2")
    >>> model = precision.convert_module(nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 1)))
    >>> type(model[0]).__name__, type(model[2]).__name__
    ('Float8Linear', 'Linear')
    """

    def __init__(
        self,
        precision: str = "float8",
        device: torch.device | None = None,
        *,
        module_filter: ModuleFilter | None = None,
        emulate: bool = False,
    ) -> None:
        if precision not in _RECIPES:
            message = f"`precision` must be one of {sorted(_RECIPES)} for Float8Precision, not {precision!r}."
            raise ValueError(message)
        require_engine("torchao", f"`precision={precision!r}`")
        self._precision = precision
        self._device = device
        self._module_filter = module_filter
        self._emulate = emulate

    @property
    def precision(self) -> str:
        return self._precision

    def dtypes(self) -> PrecisionDtypes:
        """Return the formats for sharding engines: shards in 32 bits, gathered in bfloat16, gradients summed in 32."""
        return PrecisionDtypes(compute=torch.bfloat16, reduce=torch.float32)

    def convert_module(self, module: nn.Module) -> nn.Module:
        """Return the module with its linear layers replaced; their weights stay the same parameters."""
        layers = list(self._chosen(module))
        refuse_sizes(
            layers,
            multiple=_MULTIPLE,
            what=f"`precision={self._precision!r}`",
            way_out=_WAY_OUT.format(precision=self._precision),
        )
        self._refuse_device()
        # An optional engine, which takes seconds to import.
        from lt_precision.float8_layers import float8_config, in_float8

        config = float8_config(_RECIPES[self._precision], emulate=self._emulate)
        return replaced(module, ((name, in_float8(layer, config)) for name, layer in layers))

    def convert_input(self, data: Any) -> Any:
        return data

    def forward_context(self) -> AbstractContextManager[Any]:
        if self._device is not None:
            return torch.autocast(self._device.type, torch.bfloat16)
        return _autocast_anywhere()

    def module_init_context(self) -> AbstractContextManager[Any]:
        return default_dtype(torch.float32)

    def tensor_init_context(self) -> AbstractContextManager[Any]:
        return default_dtype(torch.float32)

    def _chosen(self, module: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
        wanted = self._module_filter
        return ((name, layer) for name, layer in linear_layers(module) if wanted is None or wanted(layer, name))

    def _refuse_device(self) -> None:
        if self._emulate or self._device is None or self._device.type != "cuda":
            return
        # Asked as a module is converted: it starts CUDA, after which no process can be forked.
        capability = torch.cuda.get_device_capability(self._device)
        if capability < _FIRST_CAPABILITY:
            message = (
                f"`precision={self._precision!r}` needs a device of compute capability 8.9 or higher, but"
                f" {torch.cuda.get_device_name(self._device)} has {capability[0]}.{capability[1]}. Use"
                f" `precision='bf16-mixed'`, or `plugins=Float8Precision({self._precision!r}, emulate=True)` to try it"
                " slowly."
            )
            raise MisconfigurationException(message)


@contextmanager
def _autocast_anywhere() -> Iterator[None]:
    """Cast on the CPU and on the accelerator of this machine: where the module will stand isn't known."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    with ExitStack() as stack:
        for kind in {"cpu"} if accelerator is None else {"cpu", accelerator.type}:
            stack.enter_context(torch.autocast(kind, torch.bfloat16))
        yield
