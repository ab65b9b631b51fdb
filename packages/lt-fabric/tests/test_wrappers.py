import copy
from typing import Any

import pytest
import torch
from fabric_pretence import ManyStrategy, Wrapped
from torch import Tensor, nn

from lt_fabric.data.fabric_loader import FabricDataLoader
from lt_fabric.full_precision import FullPrecision
from lt_fabric.single_device import SingleDeviceStrategy
from lt_fabric.wrappers import FabricModule, is_wrapped, unwrap_module
from lt_interfaces.testing import TinyRegressor


class Halving(FullPrecision):
    """Computes in bfloat16, so that it shows where inputs and outputs are converted."""

    def convert_input(self, data: Any) -> Any:
        args, kwargs = data
        return tuple(arg.bfloat16() if isinstance(arg, Tensor) else arg for arg in args), kwargs

    def convert_output(self, data: Any) -> Any:
        return data.float()


class Encoder(TinyRegressor):
    """Has a method beside forward that calls a submodule, and one that doesn't."""

    def encode(self, inputs: Tensor) -> Tensor:
        encoded: Tensor = self.hidden(inputs)
        return encoded

    def size(self) -> int:
        return self.hidden.in_features


def wrap(module: nn.Module, *, strategy: SingleDeviceStrategy | None = None) -> FabricModule:
    strategy = strategy or SingleDeviceStrategy()
    placed, _ = strategy.setup(module, None)
    return FabricModule(placed, module, strategy=strategy, precision=FullPrecision())


def test_inputs_and_outputs_are_converted() -> None:
    module = TinyRegressor().bfloat16()
    wrapped = FabricModule(module, module, strategy=SingleDeviceStrategy(), precision=Halving())
    assert wrapped(torch.ones(1, 4)).dtype == torch.float32


def test_attributes_are_the_users_modules() -> None:
    module = Encoder()
    wrapped = wrap(module)
    assert wrapped.module is module
    assert wrapped.hidden is module.hidden
    assert wrapped.size() == 4
    wrapped.temperature = 2.0
    assert module.temperature == 2.0
    with pytest.raises(AttributeError, match=r"Encoder.*missing"):
        _ = wrapped.missing


def test_training_mode_reaches_the_users_module() -> None:
    wrapped = wrap(TinyRegressor(), strategy=ManyStrategy())
    wrapped.eval()
    assert not wrapped.training
    assert not wrapped.module.training
    assert not wrapped.hidden.training


def test_parameters_appear_once() -> None:
    assert len(list(wrap(TinyRegressor()).parameters())) == len(list(TinyRegressor().parameters()))


def test_the_state_dict_has_the_users_names() -> None:
    wrapped = wrap(TinyRegressor(seed=1), strategy=ManyStrategy())
    assert set(wrapped.state_dict()) == set(TinyRegressor().state_dict())
    wrapped.load_state_dict(TinyRegressor(seed=2).state_dict())
    assert torch.equal(wrapped.output.weight, TinyRegressor(seed=2).output.weight)


def test_steps_run_through_the_strategys_wrapper() -> None:
    wrapped = wrap(TinyRegressor(), strategy=ManyStrategy())
    wrapped.training_step((torch.ones(1, 4), torch.ones(1, 1)))
    assert isinstance(wrapped._forward_module, Wrapped)
    assert wrapped._forward_module.calls == 1


def test_a_method_that_calls_submodules_past_the_wrapper_is_refused() -> None:
    wrapped = wrap(Encoder(), strategy=ManyStrategy())
    with pytest.raises(RuntimeError, match=r"`Encoder.encode\(\)`.*Linear.*`mark_forward_method\('encode'\)`"):
        wrapped.encode(torch.ones(1, 4))
    assert wrapped.size() == 4


@pytest.mark.parametrize("by_name", [True, False])
def test_a_marked_method_runs_through_the_wrapper(by_name: bool) -> None:
    wrapped = wrap(Encoder(), strategy=ManyStrategy())
    wrapped.mark_forward_method("encode" if by_name else wrapped.module.encode)
    assert wrapped.encode(torch.ones(1, 4)).shape == (1, 8)
    assert wrapped._forward_module.calls == 1


@pytest.mark.parametrize(
    ("method", "error"), [("forward", ValueError), ("missing", AttributeError), (3, TypeError), (len, TypeError)]
)
def test_only_methods_of_the_module_are_marked(method: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"method|forward"):
        wrap(Encoder()).mark_forward_method(method)


def test_a_copy_works_by_itself() -> None:
    wrapped = wrap(TinyRegressor())
    copied = copy.deepcopy(wrapped)
    nn.init.zeros_(copied.output.weight)
    assert copied.module is not wrapped.module
    assert copied.module is copied._forward_module
    assert wrapped.output.weight.abs().max() > 0


def test_knows_what_was_set_up() -> None:
    wrapped = wrap(TinyRegressor())
    assert is_wrapped(wrapped)
    assert is_wrapped(FabricDataLoader([]))
    assert is_wrapped(torch.compile(wrapped, backend="eager"))
    assert not is_wrapped(wrapped.module)
    assert not is_wrapped(object())


def test_unwrapping_finds_what_the_strategy_made() -> None:
    wrapped = wrap(TinyRegressor(), strategy=ManyStrategy())
    assert unwrap_module(wrapped) is wrapped._forward_module
    assert unwrap_module(wrapped.module) is wrapped.module
