"""What every strategy promises."""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from lt_interfaces.strategy import Capability, Strategy
from lt_interfaces.testing.data import RegressionDataset
from lt_interfaces.testing.models import TinyRegressor, whole

Prepare = Callable[[Optimizer], None]


class StrategyContract:
    """Subclass it and override `strategy`; in a job of one process.

    Accumulation windows have a suite of their own, `WindowContract`; so has the work of several processes together,
    `DistributedStrategyContract`.
    """

    @pytest.fixture
    def strategy(self) -> Strategy:
        """Return the strategy to check, connected and with its environment set up."""
        raise NotImplementedError

    def test_ranks_lie_in_the_world(self, strategy: Strategy) -> None:
        assert 0 <= strategy.global_rank < strategy.world_size
        assert 0 <= strategy.local_rank <= strategy.global_rank
        assert strategy.node_rank >= 0
        assert strategy.is_global_zero is (strategy.global_rank == 0)

    def test_samplers_hear_of_replicas_and_rank_or_nothing(self, strategy: Strategy) -> None:
        assert set(strategy.distributed_sampler_kwargs or ()) in (set(), {"num_replicas", "rank"})

    @pytest.mark.parametrize("capability", list(Capability))
    def test_answers_whether_it_can(self, strategy: Strategy, capability: Capability) -> None:
        assert strategy.supports(capability) in (True, False)

    def test_optimizers_are_made_when_the_module_stands(self, strategy: Strategy) -> None:
        module = TinyRegressor()
        devices = []

        def make() -> list[Optimizer]:
            devices.append(next(module.parameters()).device)
            return [SGD(module.parameters(), lr=0.1)]

        _, optimizers = strategy.setup(module, make)
        assert devices == [strategy.root_device]
        assert len(optimizers) == 1

    def test_evaluation_needs_no_optimizers(self, strategy: Strategy) -> None:
        _, optimizers = strategy.setup(TinyRegressor(), None)
        assert optimizers == []

    def test_a_bound_step_is_the_modules_own(self, strategy: Strategy) -> None:
        module, _ = strategy.setup(TinyRegressor(), None)
        loss = strategy.bind_step(module, "training_step")(batch(strategy), 0)
        torch.testing.assert_close(loss.cpu(), TinyRegressor().training_step(batch()))

    def test_a_step_updates_as_torch_does_after_preparing(self, strategy: Strategy) -> None:
        module, optimizer = set_up(strategy)
        before = whole(next(module.parameters()).detach()).clone()
        prepared = []

        def prepare(stepped: Optimizer) -> None:
            prepared.append(torch.equal(whole(next(module.parameters()).detach()), before))

        loss = take_step(strategy, module, optimizer=optimizer, prepare=prepare)
        assert prepared == [True]
        assert_same_weights(module, trained(steps=1))
        torch.testing.assert_close(loss.detach().cpu(), TinyRegressor().training_step(batch()).detach())

    def test_clipping_returns_the_norm_it_found(self, strategy: Strategy) -> None:
        module, _ = set_up(strategy)
        strategy.backward(strategy.bind_step(module, "training_step")(batch(strategy), 0), Tensor.backward)
        norm = strategy.clip_gradients(module.parameters(), max_norm=1e-3)
        gradients = [whole(one.grad) for one in module.parameters() if one.grad is not None]
        clipped = nn.utils.get_total_norm(gradients)
        assert norm is not None
        assert norm.shape == ()
        assert norm > 1e-3 >= clipped

    def test_clipping_by_value_clamps(self, strategy: Strategy) -> None:
        if not strategy.supports(Capability.CLIP_BY_VALUE):
            pytest.skip("this strategy doesn't clip by value")
        module, _ = set_up(strategy)
        strategy.backward(strategy.bind_step(module, "training_step")(batch(strategy), 0), Tensor.backward)
        assert strategy.clip_gradients(module.parameters(), clip_value=1e-3) is None
        assert all(one.grad is None or whole(one.grad).abs().max() <= 1e-3 for one in module.parameters())

    def test_one_process_agrees_with_itself(self, strategy: Strategy) -> None:
        if strategy.world_size > 1:
            pytest.skip("this job has several processes")
        value = torch.tensor([1.0, 2.0], device=strategy.root_device)
        for op in ("mean", "sum", "min", "max"):
            assert torch.equal(strategy.reduce(value.clone(), op=op), value)
        assert torch.equal(strategy.all_gather(value).reshape(value.shape), value)
        assert strategy.broadcast({"a": 1}) == {"a": 1}
        strategy.barrier("test")

    def test_module_state_has_the_original_names_and_loads(self, strategy: Strategy) -> None:
        module, _ = strategy.setup(TinyRegressor(seed=1), None)
        state = strategy.module_state(module)
        assert set(state) == set(TinyRegressor().state_dict())
        other, _ = strategy.setup(TinyRegressor(seed=2), None)
        strategy.load_module_state(other, state)
        assert_same_weights(other, TinyRegressor(seed=1))

    def test_optimizer_state_continues_where_it_was_taken(self, strategy: Strategy) -> None:
        module, optimizer = set_up(strategy)
        take_step(strategy, module, optimizer=optimizer)
        weights = deepcopy(strategy.module_state(module))
        state = deepcopy(strategy.optimizer_state(module, optimizer))
        resumed, fresh = set_up(strategy)
        strategy.load_module_state(resumed, weights)
        strategy.load_optimizer_state(resumed, fresh, state)
        take_step(strategy, resumed, optimizer=fresh)
        assert_same_weights(resumed, trained(steps=2))

    def test_a_loader_gives_the_same_batches_when_set_up(self, strategy: Strategy) -> None:
        loader = strategy.setup_dataloader([torch.tensor([1.0]), torch.tensor([2.0])])
        assert [float(one) for one in loader] == [1.0, 2.0]

    def test_teardown_brings_the_module_back_to_the_cpu(self, strategy: Strategy) -> None:
        module, _ = strategy.setup(TinyRegressor(), None)
        strategy.teardown()
        assert next(module.parameters()).device.type == "cpu"


def batch(strategy: Strategy | None = None) -> tuple[Tensor, Tensor]:
    """Return a batch, on the strategy's device or the CPU."""
    data = RegressionDataset(length=8)
    device = torch.device("cpu") if strategy is None else strategy.root_device
    return data.rows.to(device), data.targets.to(device)


def make_optimizer(module: nn.Module) -> Optimizer:
    """Return an optimizer with state."""
    return SGD(module.parameters(), lr=0.1, momentum=0.9)


def set_up(strategy: Strategy) -> tuple[nn.Module, Optimizer]:
    """Return a module and its optimizer, set up."""
    module = TinyRegressor()
    wrapped, optimizers = strategy.setup(module, lambda: [make_optimizer(module)])
    return wrapped, optimizers[0]


def take_step(strategy: Strategy, module: nn.Module, *, optimizer: Optimizer, prepare: Prepare | None = None) -> Tensor:
    """Train on the batch once, as a loop does."""
    step = strategy.bind_step(module, "training_step")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = step(batch(strategy), 0)
        strategy.backward(loss, Tensor.backward)
        return loss

    loss: Tensor = strategy.optimizer_step(optimizer, closure, prepare or (lambda _: None))
    return loss


def trained(*, steps: int) -> nn.Module:
    """Return the module after some steps of plain torch."""
    module = TinyRegressor()
    optimizer = make_optimizer(module)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(module.training_step(batch()))
        optimizer.step()
    return module


def assert_same_weights(module: nn.Module, expected: nn.Module) -> None:
    """Fail unless both have the same weights up to rounding."""
    for found, wanted in zip(module.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(whole(found.detach()).cpu(), wanted.detach(), rtol=1e-4, atol=1e-6)
