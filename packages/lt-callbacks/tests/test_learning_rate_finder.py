import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD
from trial_runs import TrialRun

from lt_callbacks import LearningRateFinder
from lt_interfaces.errors import MisconfigurationException

FEW: dict[str, Any] = {"min_lr": 0.01, "max_lr": 1, "num_training_steps": 20}


def valley(run: TrialRun) -> float:
    """Return a loss that falls most steeply where the rate is 0.1, and rises behind 0.5."""
    return 10.0 - 8.0 / (1 + (0.1 / run.rate) ** 8) + (100.0 if run.rate > 0.5 else 0.0)


def found(run: TrialRun, module: Any, **arguments: Any) -> LearningRateFinder:
    finder = LearningRateFinder(**{**FEW, **arguments})
    finder.on_fit_start(run, module)  # type: ignore[arg-type]  # as much of a run as it needs
    return finder


def test_the_rate_found_is_set_in_module_and_optimizer() -> None:
    run, module = TrialRun(valley), SimpleNamespace(lr=0.5, hparams={"lr": 0.5})
    finder = found(run, module)
    assert finder.optimal_lr is not None
    assert finder.found_rate == finder.optimal_lr.suggestion() == module.lr == module.hparams["lr"] == run.rate
    assert 0.05 < run.rate < 0.5


def test_rates_are_tried_one_after_the_other_in_all_groups() -> None:
    run = TrialRun(lambda run: sum(group["lr"] for group in run.optimizers[0].param_groups))
    run.optimizers = [SGD([{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (0.3, 0.6)])]
    rates = {"mode": "linear", "min_lr": 0.25, "max_lr": 1.25, "num_training_steps": 4}
    finder = found(run, SimpleNamespace(), **rates, early_stop_threshold=None, update_attr=False)
    search = finder.optimal_lr
    assert search is not None
    assert search.results["lr"] == [0.25, 0.75, 1.0, 1.25]
    assert search.results["loss"][0] == pytest.approx(0.02 * (2 * 0.25) / (1 - 0.98**2))  # both groups had it


def test_the_search_stops_when_the_loss_has_risen_too_far() -> None:
    run = TrialRun(lambda run: 1.0 if run.rate < 0.098 else 1e6)
    found(run, SimpleNamespace(lr=1.0), num_training_steps=100)
    assert run.steps == [50]
    run = TrialRun(lambda run: 1.0 if run.rate < 0.098 else 1e6)
    found(run, SimpleNamespace(lr=1.0), num_training_steps=100, early_stop_threshold=None)
    assert run.steps == [100]


def test_without_a_suggestion_the_rate_stays() -> None:
    run, module = TrialRun(), SimpleNamespace(lr=0.25)
    with pytest.warns(UserWarning, match="No learning rate can be suggested"):
        finder = found(run, module, num_training_steps=5)
    assert finder.found_rate is None
    assert (module.lr, run.rate) == (0.25, 0.5)


def test_the_rate_may_be_only_suggested() -> None:
    run, module = TrialRun(valley), SimpleNamespace(lr=0.25)
    finder = found(run, module, update_attr=False)
    assert finder.optimal_lr is not None
    assert finder.optimal_lr.suggestion() is not None
    assert (module.lr, run.rate) == (0.25, 0.5)
    found(run, SimpleNamespace(), update_attr=False)  # no place to hold it is needed


@pytest.mark.parametrize(
    ("module", "arguments", "names"),
    [
        (SimpleNamespace(learning_rate=0.0), {}, ["learning_rate"]),
        (SimpleNamespace(lr=0.0, learning_rate=0.7), {}, ["lr"]),
        (SimpleNamespace(lr=0.7, speed=0.0), {"attr_name": "speed"}, ["speed"]),
    ],
)
def test_the_module_may_hold_its_rate_under_several_names(module: Any, arguments: Any, names: list[str]) -> None:
    finder = found(TrialRun(valley), module, **arguments)
    changed = [name for name, value in vars(module).items() if value == finder.found_rate]
    assert changed == names


@pytest.mark.parametrize(
    ("arguments", "named"), [({}, "called `lr` or `learning_rate`"), ({"attr_name": "speed"}, "called `speed`")]
)
def test_a_module_without_a_place_for_the_rate_is_refused_before_the_search(arguments: Any, named: str) -> None:
    run = TrialRun()
    with pytest.raises(AttributeError, match=named):
        found(run, SimpleNamespace(), **arguments)
    assert run.steps == []


@pytest.mark.parametrize("optimizers", [[], [SGD([nn.Parameter(torch.zeros(1))])] * 2])
def test_one_optimizer_is_needed(optimizers: list[SGD]) -> None:
    with pytest.raises(MisconfigurationException, match=f"`configure_optimizers` gave {len(optimizers)}"):
        found(TrialRun(optimizers=optimizers), SimpleNamespace(lr=1.0))


def test_nothing_is_tried_when_only_the_code_is(caplog: pytest.LogCaptureFixture) -> None:
    run = TrialRun(fast_dev_run=1)
    with caplog.at_level(logging.INFO):
        assert found(run, SimpleNamespace(lr=1.0)).optimal_lr is None
    assert run.steps == []


def test_a_resumed_run_keeps_the_rates_of_its_checkpoint() -> None:
    run, module = TrialRun(ckpt_path="last.ckpt"), SimpleNamespace(lr=0.25)
    found(run, module)
    assert run.steps == []
    assert (module.lr, run.rate) == (0.25, 0.5)


def test_what_was_found_is_its_state() -> None:
    finder, other = found(TrialRun(valley), SimpleNamespace(lr=1.0)), LearningRateFinder()
    other.load_state_dict(finder.state_dict())
    assert finder.optimal_lr is not None
    assert other.optimal_lr is not None
    assert other.optimal_lr.suggestion() == finder.optimal_lr.suggestion() == other.found_rate
    assert LearningRateFinder().state_dict() == {}


def test_several_ranks_decide_on_the_mean_of_their_losses() -> None:
    class Gathering(SimpleNamespace):
        def all_gather(self, loss: Tensor) -> Tensor:
            return torch.stack([loss, 3 * loss])

    run = TrialRun(lambda run: 1.0, world_size=2)
    finder = found(run, Gathering(), update_attr=False)
    assert finder.optimal_lr is not None
    assert finder.optimal_lr.results["loss"][0] == pytest.approx(0.02 * 2 / (1 - 0.98**2))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({"mode": "cubic"}, "`mode`"), ({"num_training_steps": 0}, "steps"), ({"early_stop_threshold": 0.5}, "threshold")],
)
def test_wrong_arguments_are_refused_when_it_is_made(arguments: Any, named: str) -> None:
    with pytest.raises(MisconfigurationException, match=named):
        LearningRateFinder(**arguments)
