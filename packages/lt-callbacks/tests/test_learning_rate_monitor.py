from collections.abc import Callable
from typing import Any

import pytest
from torch import nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import StepLR

from lt_callbacks import LearningRateMonitor
from lt_callbacks.learning_rate_names import name_learning_rates
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.scheduling import LRSchedulerConfig

NewRun = Callable[..., Any]  # the stand-in run of conftest.py, which tests can't import


def sgd(*names: str | None, **settings: Any) -> Optimizer:
    groups = [{"params": [nn.Parameter()], **({"name": name} if name else {})} for name in names or (None,)]
    return SGD(groups, lr=0.1, **settings)


def names_of(optimizers: list[Optimizer], configs: list[LRSchedulerConfig] | None = None) -> list[str]:
    return [name for named in name_learning_rates(optimizers, configs or []) for name in named.names]


def test_optimizers_of_one_class_are_numbered() -> None:
    assert names_of([sgd(), Adam([nn.Parameter()]), sgd()]) == ["lr-SGD", "lr-Adam", "lr-SGD-1"]


def test_parameter_groups_are_numbered_from_one_or_named() -> None:
    assert names_of([sgd(None, None)]) == ["lr-SGD/pg1", "lr-SGD/pg2"]
    assert names_of([sgd("body", "head")]) == ["lr-SGD/body", "lr-SGD/head"]
    assert names_of([sgd("only")]) == ["lr-SGD/only"]


def test_equal_group_names_are_refused() -> None:
    with pytest.raises(MisconfigurationException, match="different names"):
        names_of([sgd("a", "a")])


def test_a_schedulers_name_comes_first() -> None:
    optimizer = sgd()
    config = LRSchedulerConfig(StepLR(optimizer, 1), name="warmup")
    assert names_of([optimizer], [config]) == ["warmup"]


def monitored(new_run: NewRun, journal: Any, monitor: LearningRateMonitor, interval: Any = "step") -> list[Any]:
    optimizer = sgd(momentum=0.9, weight_decay=0.01)
    config = LRSchedulerConfig(StepLR(optimizer, 1), interval=interval)
    new_run(monitor, loggers=[journal], optimizers=[optimizer], lr_scheduler_configs=[config]).fit(epochs=2, batches=2)
    rows: list[Any] = journal.rows
    return rows


@pytest.mark.parametrize(
    ("setting", "interval", "steps"),
    [
        (None, "step", [0, 1, 2, 3]),
        (None, "epoch", [0, 2]),
        ("step", "epoch", [0, 1, 2, 3]),
        ("epoch", "step", [0, 2]),
    ],
)
def test_it_logs_at_the_schedulers_interval_unless_told_otherwise(
    new_run: NewRun, journal: Any, setting: str | None, interval: str, steps: list[int]
) -> None:
    rows = monitored(new_run, journal, LearningRateMonitor(setting), interval)
    assert rows == [(step, {"lr-SGD": 0.1}) for step in steps]


def test_it_logs_steps_only_when_the_loggers_are_due(new_run: NewRun, journal: Any) -> None:
    new_run(LearningRateMonitor("step"), loggers=[journal], logging_is_due=False).fit()
    assert journal.rows == []


def test_momentum_and_weight_decay_can_be_added_and_keys_prefixed(new_run: NewRun, journal: Any) -> None:
    monitor = LearningRateMonitor("epoch", log_momentum=True, log_weight_decay=True, log_key_prefix="opt/")
    rows = monitored(new_run, journal, monitor)
    expected = {"opt/lr-SGD": 0.1, "opt/lr-SGD-momentum": 0.9, "opt/lr-SGD-weight_decay": 0.01}
    assert rows[0] == (0, expected)
    assert monitor.lrs == {"opt/lr-SGD": [0.1, 0.1]}


def test_adams_momentum_is_its_first_beta(new_run: NewRun, journal: Any) -> None:
    adam = Adam([nn.Parameter()], lr=0.1, betas=(0.8, 0.99))
    new_run(LearningRateMonitor("epoch", log_momentum=True), loggers=[journal], optimizers=[adam]).fit()
    assert journal.rows[0][1]["lr-Adam-momentum"] == 0.8


def test_it_needs_a_logger(new_run: NewRun) -> None:
    with pytest.raises(MisconfigurationException, match="needs a logger"):
        new_run(LearningRateMonitor()).fit()


def test_another_interval_is_refused_by_name() -> None:
    with pytest.raises(MisconfigurationException, match=r"`logging_interval` must be.*Did you mean `epoch`"):
        LearningRateMonitor("epochs")
