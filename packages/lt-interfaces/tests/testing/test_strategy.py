from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from toy_parts import ToyAccelerator, ToyEnvironment, ToyPrecision, ToyStrategy

from lt_interfaces.strategy import Assembly, Strategy
from lt_interfaces.testing import StrategyContract


def ready(strategy: Strategy, device: str = "cpu") -> Strategy:
    strategy.connect(Assembly(ToyAccelerator(), [torch.device(device)], 1, ToyEnvironment(), ToyPrecision()))
    strategy.setup_environment()
    return strategy


class TestToyStrategy(StrategyContract):
    @pytest.fixture
    def strategy(self) -> Strategy:
        return ready(ToyStrategy())


class Hasty(ToyStrategy):
    """Makes optimizers of weights that aren't in their place, steps before it prepares, forgets half of its state."""

    def setup(
        self,
        module: nn.Module,
        make_optimizers: Callable[[], Sequence[Optimizer]] | None,
        *,
        move_to_device: bool = True,
    ) -> tuple[nn.Module, list[Optimizer]]:
        optimizers = list(make_optimizers()) if make_optimizers else []
        return super().setup(module, lambda: optimizers)

    def optimizer_step(
        self,
        optimizer: Optimizer,
        closure: Callable[[], Any],
        before_step: Callable[[Optimizer], None],
        **kwargs: Any,
    ) -> Any:
        outcome = super().optimizer_step(optimizer, closure, lambda _: None)
        before_step(optimizer)
        return outcome

    def clip_gradients(self, parameters: Iterable[Tensor], **limits: Any) -> Tensor | None:
        return torch.ones(())

    def load_optimizer_state(self, module: nn.Module, optimizer: Optimizer, state: Any) -> None:
        """Forgets it."""


def test_optimizers_made_too_early_are_found_out() -> None:
    with pytest.raises(AssertionError):
        StrategyContract().test_optimizers_are_made_when_the_module_stands(ready(Hasty(), "meta"))


@pytest.mark.parametrize(
    "promise",
    [
        StrategyContract.test_a_step_updates_as_torch_does_after_preparing,
        StrategyContract.test_clipping_returns_the_norm_it_found,
        StrategyContract.test_clipping_by_value_clamps,
        StrategyContract.test_optimizer_state_continues_where_it_was_taken,
    ],
)
def test_other_broken_promises_are_found_out(promise: Callable[[StrategyContract, Strategy], None]) -> None:
    with pytest.raises(AssertionError):
        promise(StrategyContract(), ready(Hasty()))
