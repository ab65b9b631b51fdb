"""torchao's float8 layer, made to compute in inference mode too; imported when a module is converted, as torchao is."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torchao.float8 import Float8LinearConfig, convert_to_float8_training  # type: ignore[import-untyped]
from torchao.float8.float8_linear import Float8Linear as TorchaoLinear  # type: ignore[import-untyped]


class Float8Linear(TorchaoLinear):  # type: ignore[misc]  # torchao isn't typed
    """A linear layer that multiplies in float8; its weight and bias stay plain parameters."""

    def forward(self, input: Tensor) -> Tensor:
        """Multiply, and add the bias."""
        output: Tensor
        # A compiler can't ask for the mode, and knows these tensors' operations itself.
        if torch.compiler.is_compiling() or not torch.is_inference_mode_enabled():
            output = super().forward(input)
            return output
        # In inference mode torch hands torchao's tensors operations that they only know in parts.
        with torch.inference_mode(mode=False), torch.no_grad():
            output = super().forward(input)
        return output


def float8_config(recipe: str, *, emulate: bool) -> Any:
    """Return torchao's settings for a recipe, with batches of any number of rows.

    Args:
        recipe: ``"tensorwise"`` or ``"rowwise"``.
        emulate: compute in the layer's own format what float8 would give.
    """
    # Padding, since the weights' gradient is a sum over rows, whose number would have to be a multiple of 16.
    return replace(Float8LinearConfig.from_recipe_name(recipe), pad_inner_dim=True, emulate=emulate)


def in_float8(layer: nn.Linear, config: Any) -> nn.Module:
    """Return a layer that multiplies in float8 with the weight of this one."""
    converted: nn.Module = convert_to_float8_training(layer, config=config)
    converted.__class__ = Float8Linear
    return converted
