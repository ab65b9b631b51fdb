"""What every strategy for several processes promises while they work together."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lt_interfaces.strategy import Strategy
from lt_interfaces.testing.data import RegressionDataset
from lt_interfaces.testing.models import TinyRegressor, whole
from lt_interfaces.testing.ranks import run_in_processes
from lt_interfaces.testing.strategy import set_up, take_step, trained
from lt_interfaces.testing.window import loss_of, trained_by

MakeStrategy = Callable[[], Strategy]
_LATE_SECONDS = 0.5


@dataclass(frozen=True)
class Window:
    """The micro-batches of a window, by rank."""

    planned: int
    """Its planned length."""
    sizes: Sequence[Sequence[int]]
    """Of the micro-batches."""
    weights: Sequence[Sequence[float]] | None = None
    """Of the micro-batches."""
    says_so: bool = True
    """Whether the last micro-batch that comes is announced as the last one."""


class DistributedStrategyContract:
    """Subclass it and override `make_strategy`; each promise is checked in a job of two processes on this machine.

    The processes are started with ``LOCAL_RANK``, ``WORLD_SIZE``, ``MASTER_ADDR`` and ``MASTER_PORT`` set
    (`run_in_processes`), and the function that makes the strategy is called in each of them. So it stands at module
    level, in a module that can be imported by name::

        def strategy_of_two() -> Strategy:  # in my_ranks.py
            strategy = MyStrategy()
            strategy.connect(Assembly(CPUAccelerator(), [torch.device("cpu")] * 2, 1, LocalEnvironment(), ...))
            strategy.setup_environment()
            return strategy


        class TestMyStrategy(DistributedStrategyContract):  # in test_my_strategy.py
            @pytest.fixture
            def make_strategy(self):
                return my_ranks.strategy_of_two

    Accumulation windows have `DistributedWindowContract`; what one process promises is in
    `StrategyContract` and `WindowContract`.
    """

    @pytest.fixture
    def make_strategy(self) -> MakeStrategy:
        """Return what makes the strategy in each process: connected to two devices, with its environment set up."""
        raise NotImplementedError

    def test_ranks_count_the_processes(self, make_strategy: MakeStrategy) -> None:
        found = on_ranks(make_strategy, ranks_and_samplers)
        assert [rank[:4] for rank in found] == [(0, 0, 2, True), (1, 1, 2, False)]
        for rank, (*_, sampling) in enumerate(found):
            assert sampling in (None, {"num_replicas": 2, "rank": rank})

    def test_reductions_take_the_values_of_all(self, make_strategy: MakeStrategy) -> None:
        expected = {"mean": [2.0, 1.0], "sum": [4.0, 2.0], "min": [1.0, -3.0], "max": [3.0, 5.0]}
        assert on_ranks(make_strategy, reductions) == [(expected, True)] * 2

    def test_a_mean_of_whole_numbers_is_exact(self, make_strategy: MakeStrategy) -> None:
        assert on_ranks(make_strategy, mean_of_whole_numbers) == [1.5, 1.5]

    def test_gathered_tensors_lie_in_rank_order(self, make_strategy: MakeStrategy) -> None:
        assert on_ranks(make_strategy, gathered) == [[[[0.0, 10.0]], [[1.0, 11.0]]]] * 2

    def test_gathering_lets_gradients_through_when_asked(self, make_strategy: MakeStrategy) -> None:
        # Each rank's loss is the sum of (rank + 1) * everything, so every rank's tensor gets 1 + 2.
        assert on_ranks(make_strategy, gradient_through_gathering) == [3.0, 3.0]

    def test_objects_of_either_rank_reach_all(self, make_strategy: MakeStrategy) -> None:
        assert on_ranks(make_strategy, broadcasts) == [({"from": 0}, {"from": 1})] * 2

    @pytest.mark.parametrize("patient", [False, True])
    def test_nobody_passes_a_barrier_before_the_last_comes(self, make_strategy: MakeStrategy, patient: bool) -> None:
        for early in on_ranks(make_strategy, seconds_at_barriers, patient)[:1]:
            assert all(seconds > _LATE_SECONDS / 2 for seconds in early)

    def test_all_train_the_weights_of_rank_0(self, make_strategy: MakeStrategy) -> None:
        expected = flat(TinyRegressor(seed=0))
        for found in on_ranks(make_strategy, weights_at_first):
            assert found == pytest.approx(expected)

    def test_ones_own_loop_synchronises_when_it_wants(self, make_strategy: MakeStrategy) -> None:
        for step, (one, other) in enumerate(zip(*on_ranks(make_strategy, gradients_of_own_loop), strict=True)):
            assert (one == other) is (step == 1)

    def test_state_is_that_of_the_original_and_goes_on_anywhere(self, make_strategy: MakeStrategy) -> None:
        state, optimizer_state = on_ranks(make_strategy, state_after_a_step)[0]
        module = TinyRegressor(seed=5)
        module.load_state_dict(state)
        assert flat(module) == pytest.approx(flat(trained(steps=1)), rel=1e-4, abs=1e-6)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
        optimizer.load_state_dict(optimizer_state)
        for found in on_ranks(make_strategy, weights_after_going_on, state, optimizer_state):
            assert found == pytest.approx(flat(trained(steps=2)), rel=1e-4, abs=1e-6)

    def test_flags_are_known_one_exchange_later(self, make_strategy: MakeStrategy) -> None:
        expected = [[0, 0], [1, 2], [0, 0], [1, 0]]
        assert on_ranks(make_strategy, exchanges) == [expected] * 2

    def test_who_settles_knows_at_once_and_hears_it_again(self, make_strategy: MakeStrategy) -> None:
        settled, others = on_ranks(make_strategy, exchanges_where_one_settles)
        assert settled == [[], [0], [1], [1]]
        assert others == [[0], [1]]

    def test_flags_raised_between_exchanges_wait(self, make_strategy: MakeStrategy) -> None:
        assert on_ranks(make_strategy, exchanges_of_every_second) == [[None, [0], None, [2], None, [0]]] * 2

    def test_a_failure_ends_the_others_and_is_what_they_raise(self, make_strategy: MakeStrategy) -> None:
        first, (is_own, told) = run_in_processes(_fail_on_rank_0, make_strategy)
        assert first == (True, "the first failure")
        assert not is_own
        assert "the first failure" in told


class DistributedWindowContract:
    """Subclass it and override `make_strategy`, as for `DistributedStrategyContract`: windows of two ranks."""

    @pytest.fixture
    def make_strategy(self) -> MakeStrategy:
        """Return what makes the strategy in each process: connected to two devices, with its environment set up."""
        raise NotImplementedError

    def test_gradients_are_those_of_the_samples_of_all(self, make_strategy: MakeStrategy) -> None:
        assert_whole(on_ranks(make_strategy, window_gradients, Window(1, [[4], [4]], None)))

    def test_only_the_last_micro_batch_synchronises(self, make_strategy: MakeStrategy) -> None:
        for step, (one, other) in enumerate(zip(*on_ranks(make_strategy, gradients_after_each), strict=True)):
            assert (one == other) is (step == 2)

    def test_equal_micro_batches_of_all_make_the_whole_batch(self, make_strategy: MakeStrategy) -> None:
        assert_whole(on_ranks(make_strategy, window_gradients, Window(3, [[4, 4, 4], [4, 4, 4]], None)))

    @pytest.mark.parametrize("says_so", [True, False])
    def test_a_window_may_end_early(self, make_strategy: MakeStrategy, says_so: bool) -> None:
        assert_whole(on_ranks(make_strategy, window_gradients, Window(5, [[4, 4], [4, 4]], None, says_so)))

    def test_weights_count_over_ranks_and_micro_batches(self, make_strategy: MakeStrategy) -> None:
        sizes = [[1, 9], [5, 3]]
        assert_whole(on_ranks(make_strategy, window_gradients, Window(2, sizes, sizes)))

    @pytest.mark.parametrize("says_so", [True, False])
    def test_a_weighted_window_may_end_early(self, make_strategy: MakeStrategy, says_so: bool) -> None:
        sizes = [[2, 7], [6, 1]]
        assert_whole(on_ranks(make_strategy, window_gradients, Window(4, sizes, sizes, says_so)))

    def test_a_rank_of_no_weight_counts_for_nothing(self, make_strategy: MakeStrategy) -> None:
        found = on_ranks(make_strategy, window_gradients, Window(2, [[4, 4], [4, 4]], [[1, 1], [0, 0]]))
        alone = TinyRegressor()
        torch.autograd.backward(rows_loss(alone, 0, [4, 4]))
        for gradients, _ in found:
            assert gradients == pytest.approx(gradient_of(alone), rel=1e-4, abs=1e-6)


def on_ranks(make_strategy: MakeStrategy, check: Callable[..., Any], *args: Any) -> list[Any]:
    """Return what a check finds on either rank."""
    return run_in_processes(_on_rank, make_strategy, check, args)


def _on_rank(make_strategy: MakeStrategy, check: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    strategy = make_strategy()
    found = check(strategy, *args)
    strategy.barrier("checked")
    strategy.teardown()
    return found


def _fail_on_rank_0(make_strategy: MakeStrategy) -> tuple[bool, str]:
    """Return whether a rank raises what it met with, and what it says; rank 1 waits for rank 0, which fails."""
    strategy = make_strategy()
    met: BaseException = ValueError("the first failure")
    if strategy.global_rank == 1:
        try:
            strategy.barrier("never reached by rank 0")
        except BaseException as failure:  # whatever frees it
            met = failure
    raised = strategy.announce_failure(met)
    strategy.teardown()
    return raised is met and strategy.global_rank == 0, str(raised)


def ranks_and_samplers(strategy: Strategy) -> Any:
    """Return who this rank is."""
    sampling = strategy.distributed_sampler_kwargs
    return (
        strategy.global_rank,
        strategy.local_rank,
        strategy.world_size,
        strategy.is_global_zero,
        None if sampling is None else dict(sampling),
    )


def own_tensor(strategy: Strategy, of_rank: Sequence[Any]) -> Tensor:
    """Return the tensor of this rank."""
    return torch.tensor(of_rank[strategy.global_rank], device=strategy.root_device)


def reductions(strategy: Strategy) -> tuple[dict[str, list[float]], bool]:
    """Return what each reduction makes, and whether the tensor given stayed as it was."""
    given = own_tensor(strategy, [[1.0, 5.0], [3.0, -3.0]])
    before = given.clone()
    return {op: strategy.reduce(given, op=op).tolist() for op in ("mean", "sum", "min", "max")}, given.equal(before)


def mean_of_whole_numbers(strategy: Strategy) -> float:
    """Return a mean that isn't whole."""
    return strategy.reduce(own_tensor(strategy, [1, 2])).item()


def gathered(strategy: Strategy) -> Any:
    """Return a gathered tensor that isn't contiguous on any rank."""
    own = torch.tensor([[0.0], [10.0]], device=strategy.root_device) + strategy.global_rank
    return strategy.all_gather(own.T).tolist()


def gradient_through_gathering(strategy: Strategy) -> float:
    """Return the gradient that the losses of all ranks leave."""
    own = torch.ones((), device=strategy.root_device, requires_grad=True)
    everything = strategy.all_gather(own, sync_grads=True)
    torch.autograd.backward(everything.sum() * (strategy.global_rank + 1))
    assert own.grad is not None
    return own.grad.item()


def broadcasts(strategy: Strategy) -> Any:
    """Return objects sent by either rank."""
    own = {"from": strategy.global_rank}
    return strategy.broadcast(own), strategy.broadcast(own, src=1)


def seconds_at_barriers(strategy: Strategy, patient: bool) -> list[float]:
    """Return how long this rank waited at two barriers of one name, to which rank 1 comes late."""
    waited = []
    for _ in range(2):
        strategy.barrier("before")
        if strategy.global_rank == 1:
            time.sleep(_LATE_SECONDS)
        start = time.monotonic()
        strategy.barrier("late", patient=patient)
        waited.append(time.monotonic() - start)
    return waited


def weights_at_first(strategy: Strategy) -> list[float]:
    """Return the weights of a module that every rank had made with others."""
    module = TinyRegressor(seed=strategy.global_rank)
    wrapped, _ = strategy.setup(module, lambda: [torch.optim.SGD(module.parameters())])
    restored = TinyRegressor(seed=7)
    restored.load_state_dict(strategy.broadcast(strategy.module_state(wrapped)))
    return flat(restored)


def window_gradients(strategy: Strategy, of: Window) -> tuple[list[float], list[float]]:
    """Return the gradients that a window made of this rank's micro-batches, and those of all samples at once."""
    planned, sizes, weights, says_so = of.planned, of.sizes, of.weights, of.says_so
    rank, module = strategy.global_rank, trained_by(strategy)
    window = strategy.open_window(planned)
    start = sum(sizes[0]) * rank
    for number, size in enumerate(sizes[rank]):
        window.begin(is_last=number == (len(sizes[rank]) if says_so else planned) - 1)
        loss = loss_of(module, slice(start, start + size), strategy)
        weight = None if weights is None else float(weights[rank][number])
        strategy.backward(window.add(loss, weight), Tensor.backward)
        start += size
    window.close()
    at_once = TinyRegressor()
    torch.autograd.backward(rows_loss(at_once, 0, [size for own in sizes for size in own]))
    return gradient_of(module), gradient_of(at_once)


def gradients_after_each(strategy: Strategy) -> list[list[float]]:
    """Return this rank's gradients after each micro-batch of a window."""
    module, found = trained_by(strategy), []
    window = strategy.open_window(3)
    for number in range(3):
        window.begin(is_last=number == 2)
        start = 4 * (3 * strategy.global_rank + number)
        strategy.backward(window.add(loss_of(module, slice(start, start + 4), strategy)), Tensor.backward)
        found.append(gradient_of(module))
    window.close()
    return found


def gradients_of_own_loop(strategy: Strategy) -> list[list[float]]:
    """Return this rank's gradients after a backward without and one with synchronisation, without a window."""
    module, found = trained_by(strategy), []
    for number, is_apart in enumerate((True, False)):
        start = 4 * (2 * strategy.global_rank + number)
        with strategy.no_backward_sync(module, enabled=is_apart):
            strategy.backward(loss_of(module, slice(start, start + 4), strategy), Tensor.backward)
        found.append(gradient_of(module))
    return found


def state_after_a_step(strategy: Strategy) -> Any:
    """Return the states after all ranks took a step on the same batch."""
    module, optimizer = set_up(strategy)
    take_step(strategy, module, optimizer=optimizer)
    return strategy.module_state(module), strategy.optimizer_state(module, optimizer)


def weights_after_going_on(strategy: Strategy, state: Any, optimizer_state: Any) -> list[float]:
    """Return the weights after another step from given states."""
    module, optimizer = set_up(strategy)
    strategy.load_module_state(module, state)
    strategy.load_optimizer_state(module, optimizer, optimizer_state)
    take_step(strategy, module, optimizer=optimizer)
    plain = TinyRegressor(seed=7)
    plain.load_state_dict(strategy.broadcast(strategy.module_state(module)))
    return flat(plain)


def exchanges(strategy: Strategy) -> list[list[int]]:
    """Return the outcomes of four exchanges: rank 1 raises the first flag in two, both raise the second in one."""
    exchange = strategy.open_flag_exchange()
    assert exchange is not None
    is_second = strategy.global_rank == 1
    raised = [[is_second, True], [False, False], [is_second, False], [False, False]]
    return [list(exchange.exchange(flags) or []) for flags in raised]


def exchanges_where_one_settles(strategy: Strategy) -> list[list[int]]:
    """Return the outcomes of two exchanges, and on rank 0 what it settles before, between and after."""
    exchange = strategy.open_flag_exchange()
    assert exchange is not None
    found, settles = [], strategy.global_rank == 0
    if settles:
        found.append(list(exchange.settle()))
    found.append(list(exchange.exchange([strategy.global_rank == 1]) or []))
    if settles:
        found.append(list(exchange.settle()))
    found.append(list(exchange.exchange([False]) or []))
    return found


def exchanges_of_every_second(strategy: Strategy) -> list[list[int] | None]:
    """Return the outcomes at six boundaries of which every second one exchanges; a flag is raised from 1 to 2."""
    exchange = strategy.open_flag_exchange(every=2)
    assert exchange is not None
    outcomes = [exchange.exchange([number < 2]) for number in range(6)]
    return [None if outcome is None else list(outcome) for outcome in outcomes]


def rows_loss(module: nn.Module, start: int, sizes: Sequence[int]) -> Tensor:
    """Return the mean loss over rows on the CPU."""
    data, rows = RegressionDataset(length=64), slice(start, start + sum(sizes))
    return nn.functional.mse_loss(module(data.rows[rows]), data.targets[rows])


def gradient_of(module: nn.Module) -> list[float]:
    """Return all gradients of a module as numbers."""
    gradients = [whole(parameter.grad).flatten() for parameter in module.parameters() if parameter.grad is not None]
    return [float(number) for number in torch.cat(gradients).cpu()]


def flat(module: nn.Module) -> list[float]:
    """Return all weights of a module as numbers."""
    return [float(number) for number in nn.utils.parameters_to_vector(module.parameters()).detach()]


def assert_whole(found: Sequence[tuple[list[float], list[float]]]) -> None:
    """Fail unless every rank's gradients are those of all samples, up to rounding."""
    for gradients, expected in found:
        assert len(gradients) > 0
        assert gradients == pytest.approx(expected, rel=1e-4, abs=1e-6)
