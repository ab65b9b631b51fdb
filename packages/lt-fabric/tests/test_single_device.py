import pickle

import pytest
import torch
from torch import nn
from torch.optim import SGD

from lt_fabric.cpu import CPUAccelerator
from lt_fabric.full_precision import FullPrecision
from lt_fabric.local_environment import LocalEnvironment
from lt_fabric.single_device import SingleDeviceStrategy
from lt_interfaces import Assembly, Capability, plugins
from lt_interfaces.portable_state import optimizer_state_to_names
from lt_interfaces.testing import RegressionDataset, StrategyContract, TinyRegressor

IO_OF_FILES = ("checkpoint_ios", "torch")


def connected(device: str = "cpu") -> SingleDeviceStrategy:
    strategy = SingleDeviceStrategy()
    strategy.connect(Assembly(CPUAccelerator(), [torch.device(device)], 1, LocalEnvironment(), FullPrecision()))
    return strategy


class TestSingleDeviceStrategy(StrategyContract):
    @pytest.fixture
    def strategy(self) -> SingleDeviceStrategy:
        strategy = connected()
        strategy.setup_environment()
        return strategy


def test_does_everything_but_run_in_several_processes() -> None:
    strategy = SingleDeviceStrategy()
    missing = {one for one in Capability if not strategy.supports(one)}
    assert missing == {Capability.SEVERAL_PROCESSES, Capability.SYNC_BATCHNORM}


@pytest.mark.parametrize(("installed", "name"), [(True, "torch"), (False, "local")])
def test_checkpoints_go_through_the_installed_io_or_the_plain_default(
    monkeypatch: pytest.MonkeyPatch, installed: bool, name: str
) -> None:
    monkeypatch.setattr(plugins, "is_installed", lambda kind, wanted: installed and (kind, wanted) == IO_OF_FILES)
    assert SingleDeviceStrategy().default_checkpoint_io == name


def test_its_own_device_wins_over_those_asked_for() -> None:
    strategy = SingleDeviceStrategy("meta")
    strategy.connect(Assembly(CPUAccelerator(), [torch.device("cpu")], 1, LocalEnvironment(), FullPrecision()))
    assert strategy.root_device == torch.device("meta")


def test_a_bound_step_costs_no_call_of_ours() -> None:
    module = TinyRegressor()
    assert connected().bind_step(module, "training_step") == module.training_step


def test_windows_are_one_object_emptied() -> None:
    strategy = connected()
    window = strategy.open_window(2)
    window.add(torch.ones(()))
    assert strategy.open_window(2) is window
    assert window.held == 0


def test_a_module_can_be_left_where_it_is() -> None:
    module = TinyRegressor()
    connected("meta").setup(module, None, move_to_device=False)
    assert next(module.parameters()).device.type == "cpu"


def test_modules_are_created_on_the_device() -> None:
    with connected("meta").init_context():
        module = nn.Linear(2, 2)
    assert module.weight.device.type == "meta"


def test_weights_can_be_left_unfilled() -> None:
    before = torch.get_rng_state()
    with connected().init_context(empty_init=True):
        nn.Linear(2, 2)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_module_lives_no_longer_than_its_owner_wants() -> None:
    strategy = connected()
    module, _ = strategy.setup(TinyRegressor(), None)
    del module
    assert list(strategy._parameters()) == []


def test_clipping_needs_a_limit() -> None:
    with pytest.raises(ValueError, match="`max_norm` or `clip_value`"):
        connected().clip_gradients([])


def test_optimizer_state_of_a_sharded_strategy_loads() -> None:
    data = RegressionDataset()
    states = []
    for seed in (0, 1):
        module = TinyRegressor()
        optimizer = SGD(module.parameters(), lr=0.1 + seed, momentum=0.9)
        if states:
            connected().load_optimizer_state(module, optimizer, states[0])
        else:
            module.training_step((data.rows, data.targets)).backward()
            optimizer.step()
        states.append(optimizer_state_to_names(module, optimizer))
    assert states[1]["param_groups"] == states[0]["param_groups"]
    buffers = [state["state"]["hidden.weight"]["momentum_buffer"] for state in states]
    assert torch.equal(*buffers)


def test_it_can_be_pickled_without_the_modules_it_has_set_up() -> None:
    strategy, module = SingleDeviceStrategy("cpu"), nn.Linear(2, 1)
    strategy.setup(module, None)
    copied = pickle.loads(pickle.dumps(strategy))
    assert copied.root_device == torch.device("cpu")
    copied.teardown()
