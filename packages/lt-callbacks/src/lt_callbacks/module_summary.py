"""A module's summary as an object: what it consists of by column, and as text."""

from typing import Any

from torch import nn

from lt_callbacks.model_summary import LayerSummary, summarize
from lt_callbacks.summary_tables import plain_table


class ModelSummary:
    """What a module consists of; `str` of it is a table.

    Where the module has an ``example_input_array``, one forward tells sizes and operations.

    Args:
        model: any torch module.
        max_depth: levels of submodules that get a row; 0: none, -1: all.

    Raises:
        ValueError: for a ``max_depth`` below -1.

    >>> summary = ModelSummary(nn.Sequential(nn.Linear(4, 8), nn.ReLU()))
    >>> summary.layer_names, summary.layer_types, summary.param_nums, summary.total_parameters
    (['0', '1'], ['Linear', 'ReLU'], [40, 0], 40)
    """

    def __init__(self, model: nn.Module, max_depth: int = 1) -> None:
        self._model = model
        self._summary = summarize(model, max_depth)
        self._layer_summary = {layer.name: layer for layer in self._summary.layers}

    def summarize(self) -> dict[str, LayerSummary]:
        """Return the rows by the layers' names."""
        return dict(self._layer_summary)

    @property
    def named_modules(self) -> list[tuple[str, nn.Module]]:
        """The layers that have a row, by their names."""
        return [(layer.name, self._model.get_submodule(layer.name)) for layer in self._summary.layers]

    @property
    def layer_names(self) -> list[str]:
        """The layers' names."""
        return list(self._layer_summary)

    @property
    def layer_types(self) -> list[str]:
        """The names of the layers' classes."""
        return [layer.type for layer in self._summary.layers]

    @property
    def in_sizes(self) -> list[Any]:
        """What each layer got; ``"?"`` where that isn't known."""
        return [layer.in_size for layer in self._summary.layers]

    @property
    def out_sizes(self) -> list[Any]:
        """What each layer returned; ``"?"`` where that isn't known."""
        return [layer.out_size for layer in self._summary.layers]

    @property
    def param_nums(self) -> list[int]:
        """How many parameters each layer has."""
        return [layer.num_parameters for layer in self._summary.layers]

    @property
    def training_modes(self) -> list[bool]:
        """Whether each layer is in training mode."""
        return [layer.mode == "train" for layer in self._summary.layers]

    @property
    def total_training_modes(self) -> dict[str, int]:
        """How many modules are in ``"train"`` and in ``"eval"`` mode, at all depths."""
        return {"train": self._summary.num_modules_in_train_mode, "eval": self._summary.num_modules_in_eval_mode}

    @property
    def total_parameters(self) -> int:
        """How many parameters the module has; one that's shared counts once."""
        return self._summary.num_parameters

    @property
    def trainable_parameters(self) -> int:
        """How many of them require gradients."""
        return self._summary.num_trainable_parameters

    @property
    def total_layer_params(self) -> int:
        """The sum of `param_nums`, in which parameters count once for each row that has them."""
        return sum(self.param_nums)

    @property
    def model_size(self) -> float:
        """What all parameters take, in units of 10^6 bytes."""
        return self._summary.size_megabytes

    @property
    def total_flops(self) -> int:
        """Floating-point operations of one forward over the example input; 0 without one."""
        return self._summary.total_flops

    def __str__(self) -> str:
        return plain_table(self._summary)

    def __repr__(self) -> str:
        return str(self)
