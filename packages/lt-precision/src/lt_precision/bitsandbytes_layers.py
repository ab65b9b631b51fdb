"""Linear layers on bitsandbytes' kernels: quantised and frozen in 4 or 8 bits, or quantised anew for every product.

All their tensors are parameters, frozen where they aren't trained: so they move with the module, are the same on every
rank once a strategy has sent them there, and are stored by their names like any others. bitsandbytes' own layers keep
scales beside the module, which does none of that.

Imported when a module is converted, as bitsandbytes is.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final, Self

import torch
from bitsandbytes import MatmulLtState, matmul, matmul_4bit  # type: ignore[attr-defined]  # not marked as exported
from bitsandbytes.functional import QuantState, int8_vectorwise_quant, quantize_4bit
from torch import Tensor, nn

_BLOCK: Final = 64  # weights that share a scale in 4 bits
_NESTED_BLOCK: Final = 256  # scales that share a scale, where scales are quantised too
_OUTLIERS: Final = 6.0  # activations above are multiplied in 16 bits (https://arxiv.org/abs/2208.07339)


class QuantisedLinear(nn.Module, ABC):
    """Base of linear layers whose weight is quantised and frozen; a plain weight is quantised as it's loaded.

    Args:
        layer: the linear layer to take the place of.
        dtype: the format in which it computes.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, layer: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        self.in_features: Final = layer.in_features
        self.out_features: Final = layer.out_features
        self.dtype: Final = dtype
        self.bias = layer.bias

    def extra_repr(self) -> str:
        """Describe the layer as torch describes its own."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"

    def hold_weight_of(self, layer: nn.Linear) -> None:
        """Keep a layer's weight, quantised and frozen: the same parameter, so that an optimizer holds no more bytes."""
        weight = layer.get_parameter("weight")
        tensors = self.quantised(weight.detach())
        weight.requires_grad = False
        weight.data = tensors.pop("weight")
        self.weight = weight
        for name, tensor in tensors.items():
            self.register_parameter(name, nn.Parameter(tensor, requires_grad=False))

    @abstractmethod
    def quantised(self, weight: Tensor) -> dict[str, Tensor]:
        """Return a plain weight as the tensors that are kept of it, by name."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # What's kept of the weight moves to other devices, but isn't rounded to another format.
        kept = {id(parameter) for name, parameter in self.named_parameters() if name != "bias"}

        def keep_format(tensor: Tensor) -> Tensor:
            changed = fn(tensor)
            is_rounded = id(tensor) in kept and changed.dtype != tensor.dtype
            return tensor.to(changed.device) if is_rounded else changed

        return super()._apply(keep_format, recurse)  # type: ignore[no-untyped-call, no-any-return]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        weight = state_dict.get(f"{prefix}weight")
        # A plain weight of another shape is left for torch to refuse.
        if weight is not None and weight.is_floating_point() and weight.shape == (self.out_features, self.in_features):
            kept = self.quantised(weight.detach().to(self.weight.device))
            state_dict.update({f"{prefix}{name}": tensor for name, tensor in kept.items()})
        state_dict.pop(f"{prefix}weight_format", None)  # bitsandbytes' own layers store it; there's one format only
        super()._load_from_state_dict(state_dict, prefix, *args)


class Linear4bit(QuantisedLinear):
    """A linear layer whose weight is kept in 4 bits, with a scale for each 64 of them (https://arxiv.org/abs/2305.14314).

    Args:
        layer: the linear layer to take the place of; its weight is quantised at once.
        dtype: the format in which it computes.
        kind: ``"nf4"`` or ``"fp4"``.
        nested: quantise the scales too.

    >>> import torch
    >>> layer = Linear4bit(nn.Linear(64, 64), torch.float32, kind="nf4", nested=False)
    >>> layer.weight.nbytes, layer.absmax.numel()
    (2048, 64)
    """

    absmax: nn.Parameter
    code: nn.Parameter
    nested_absmax: nn.Parameter
    nested_code: nn.Parameter
    nested_offset: nn.Parameter

    def __init__(self, layer: nn.Linear, dtype: torch.dtype, *, kind: str, nested: bool) -> None:
        super().__init__(layer, dtype)
        self.kind: Final = kind
        self.nested: Final = nested
        self.hold_weight_of(layer)

    def quantised(self, weight: Tensor) -> dict[str, Tensor]:
        packed, state = quantize_4bit(
            weight.to(self.dtype).contiguous(),
            blocksize=_BLOCK,
            compress_statistics=self.nested,
            quant_type=self.kind,
        )
        tensors = {"weight": packed, "absmax": state.absmax, "code": state.code}
        if self.nested:
            tensors |= {
                "nested_absmax": state.state2.absmax,
                "nested_code": state.state2.code,
                "nested_offset": state.offset,
            }
        return tensors

    def forward(self, inputs: Tensor) -> Tensor:
        """Multiply with the weight as it was before it was quantised, as nearly as 4 bits tell."""
        output: Tensor = matmul_4bit(inputs.to(self.dtype), self.weight, quant_state=self._state())
        if self.bias is not None:
            output = output + self.bias.to(self.dtype)
        return output.to(inputs.dtype)

    def _state(self) -> QuantState:
        """Return the scales in the form that bitsandbytes' functions take."""
        nested = None
        if self.nested:
            nested = QuantState(  # type: ignore[no-untyped-call]
                absmax=self.nested_absmax, code=self.nested_code, blocksize=_NESTED_BLOCK, dtype=torch.float32
            )
        return QuantState(  # type: ignore[no-untyped-call]
            absmax=self.absmax,
            shape=torch.Size((self.out_features, self.in_features)),
            code=self.code,
            blocksize=_BLOCK,
            quant_type=self.kind,
            dtype=self.dtype,
            offset=self.nested_offset if self.nested else None,
            state2=nested,
        )


class Linear8bit(QuantisedLinear):
    """A linear layer whose weight is kept in 8 bits, with a scale for each row.

    Args:
        layer: the linear layer to take the place of; its weight is quantised at once.
        dtype: the format in which it computes.

    >>> import torch
    >>> Linear8bit(nn.Linear(64, 64), torch.float32).weight.dtype
    torch.int8
    """

    SCB: nn.Parameter

    def __init__(self, layer: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__(layer, dtype)
        self.hold_weight_of(layer)

    def quantised(self, weight: Tensor) -> dict[str, Tensor]:
        # `SCB` is bitsandbytes' name for the scales, in its checkpoints too.
        rows, scales, _ = int8_vectorwise_quant(weight.to(torch.float16).contiguous())
        return {"weight": rows, "SCB": scales}

    def forward(self, inputs: Tensor) -> Tensor:
        """Multiply in 8 bits, or, on a CPU, with the weight as it was before, as nearly as 8 bits tell."""
        state = MatmulLtState()
        state.has_fp16_weights = False
        state.CB, state.SCB = self.weight.detach(), self.SCB.detach()
        return _product_in_8_bits(inputs, self, state)


class Linear8bitTraining(nn.Linear):
    """A linear layer with a plain weight that is quantised to 8 bits anew for every product, and trained.

    Args:
        layer: the linear layer to take the place of; both share their parameters.
        dtype: the format in which it computes.

    >>> import torch
    >>> layer = Linear8bitTraining(nn.Linear(64, 64), torch.float32)
    >>> layer(torch.ones(2, 3, 64)).sum().backward()
    >>> layer.weight.grad.shape
    torch.Size([64, 64])
    """

    def __init__(self, layer: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__(layer.in_features, layer.out_features, bias=False, device="meta")
        self.dtype: Final = dtype
        self.weight = layer.weight
        self.bias = layer.bias

    def forward(self, input: Tensor) -> Tensor:
        """Multiply with the weight rounded to 8 bits; its gradient is taken as if it weren't rounded."""
        # A new one each time: bitsandbytes' layer evaluates with the rounded weight of the step before.
        state = MatmulLtState()
        state.has_fp16_weights = True
        return _product_in_8_bits(input, self, state)


def _product_in_8_bits(inputs: Tensor, layer: Linear8bit | Linear8bitTraining, state: MatmulLtState) -> Tensor:
    """Multiply inputs of any number of dimensions, the last of them, by a layer's weight, and add its bias."""
    state.threshold = _OUTLIERS
    state.is_training = True  # on a CPU it can't evaluate a weight that is trained, and would warn of the others
    rows = inputs.to(layer.dtype).reshape(-1, inputs.shape[-1])  # gradients on a CPU take two dimensions only
    output: Tensor = matmul(rows, layer.weight, state=state)
    if layer.bias is not None:
        output = output + layer.bias.to(layer.dtype)
    return output.reshape(*inputs.shape[:-1], output.shape[-1]).to(inputs.dtype)
