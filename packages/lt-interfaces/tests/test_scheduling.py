import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau, StepLR

from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.scheduling import LRSchedulerConfig


@pytest.fixture
def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)


@pytest.fixture
def step_lr(optimizer: torch.optim.Optimizer) -> StepLR:
    return StepLR(optimizer, step_size=1)


def test_defaults_step_once_per_epoch_and_watch_nothing(step_lr: StepLR) -> None:
    config = LRSchedulerConfig(step_lr)
    assert (config.name, config.interval, config.frequency) == (None, "epoch", 1)
    assert (config.reduce_on_plateau, config.monitor, config.strict) == (False, None, True)


@pytest.mark.parametrize("interval", ["batch", "Steps", None])
def test_wrong_interval_is_refused_with_what_is_accepted(step_lr: StepLR, interval: str) -> None:
    with pytest.raises(MisconfigurationException, match=r'`interval`.*"epoch" or "step"'):
        LRSchedulerConfig(step_lr, interval=interval)  # type: ignore[arg-type]


@pytest.mark.parametrize("frequency", [0, -1, 0.5, "1"])
def test_wrong_frequency_is_refused(step_lr: StepLR, frequency: int) -> None:
    with pytest.raises(MisconfigurationException, match=r"`frequency`"):
        LRSchedulerConfig(step_lr, frequency=frequency)


def test_scheduler_without_state_is_refused() -> None:
    with pytest.raises(TypeError, match=r"state_dict"):
        LRSchedulerConfig(object())


def test_plateau_scheduler_is_recognised_and_needs_a_monitor(optimizer: torch.optim.Optimizer) -> None:
    plateau = ReduceLROnPlateau(optimizer)
    assert LRSchedulerConfig.for_automatic_optimization({"scheduler": plateau, "monitor": "loss"}).reduce_on_plateau
    with pytest.raises(MisconfigurationException, match=r"ReduceLROnPlateau.*monitor"):
        LRSchedulerConfig.for_automatic_optimization({"scheduler": plateau})


def test_one_cycle_per_epoch_is_warned_about(optimizer: torch.optim.Optimizer) -> None:
    one_cycle = OneCycleLR(optimizer, max_lr=0.1, total_steps=10)
    with pytest.warns(RuntimeWarning, match=r"OneCycleLR"):
        LRSchedulerConfig(one_cycle)
    assert LRSchedulerConfig(one_cycle, interval="step").interval == "step"


def test_unknown_keys_are_dropped_with_a_suggestion(step_lr: StepLR) -> None:
    with pytest.warns(RuntimeWarning, match=r"`frequncy`.*Did you mean `frequency`"):
        config = LRSchedulerConfig.for_automatic_optimization({"scheduler": step_lr, "frequncy": 3})
    assert config.frequency == 1


def test_dict_without_a_scheduler_is_refused() -> None:
    with pytest.raises(MisconfigurationException, match=r"scheduler"):
        LRSchedulerConfig.for_automatic_optimization({"interval": "step"})


def test_manual_optimization_warns_about_keys_that_do_nothing(optimizer: torch.optim.Optimizer) -> None:
    given = {"scheduler": ReduceLROnPlateau(optimizer), "monitor": "loss", "strict": False, "name": "lr"}
    with pytest.warns(RuntimeWarning, match=r"`monitor`, `strict`"):
        config = LRSchedulerConfig.for_manual_optimization(given)
    assert (config.name, config.monitor, config.strict) == ("lr", None, True)
