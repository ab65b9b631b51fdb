import logging
from collections.abc import Callable
from typing import Any

import pytest
from torch import nn
from torch.optim import SGD

from lt_callbacks import BackboneFinetuning
from lt_callbacks.backbone_finetuning import multiplicative
from lt_interfaces.errors import MisconfigurationException

NewRun = Callable[..., Any]  # the stand-in run of conftest.py, which tests can't import


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.head = nn.Linear(2, 1)


def begin(run: Any, *, all_parameters: bool = False, state: dict[str, Any] | None = None) -> Any:
    run.module = Net()
    run.tell("setup", "fit")
    chosen = [one for one in run.module.parameters() if one.requires_grad or all_parameters]
    run.optimizers = [SGD(chosen, lr=0.1)]
    if state is not None:
        run.callbacks[0].load_state_dict(state)
    run.tell("on_fit_start")
    return run


def rates(run: Any, epochs: range) -> list[list[float]]:
    """Return the rates of all groups in each epoch."""
    found = []
    for run.current_epoch in epochs:
        run.tell("on_train_epoch_start")
        found.append([group["lr"] for group in run.optimizers[0].param_groups])
    return found


def test_the_backbones_rate_doubles_each_epoch(new_run: NewRun) -> None:
    run = begin(new_run(BackboneFinetuning(2)))
    assert rates(run, range(5)) == [[0.1], [0.1], *([0.1, 0.1 * 0.1 * factor] for factor in (1, 2, 4))]


def test_it_stays_at_the_main_rate_once_there_unless_told_otherwise(new_run: NewRun) -> None:
    for aligned, last in ((True, [0.1, 0.1, 0.1]), (False, [0.16, 0.32, 0.64])):
        run = begin(new_run(BackboneFinetuning(0, should_align=aligned)))
        assert [backbone for _, backbone in rates(run, range(7))][4:] == pytest.approx(last)


def test_its_first_rate_and_how_it_grows_can_be_said(new_run: NewRun) -> None:
    asked: list[int] = []

    def grow(epoch: int) -> float:
        asked.append(epoch)
        return 1.5

    callback = BackboneFinetuning(1, lambda_func=grow, backbone_initial_lr=0.02, initial_denom_lr=3.0)
    run = begin(new_run(callback))
    assert [group[-1] for group in rates(run, range(1, 4))] == pytest.approx([0.02, 0.03, 0.045])
    assert asked == [3, 4]


def test_a_resumed_run_goes_on_with_the_rate_it_had(new_run: NewRun) -> None:
    before = BackboneFinetuning(1)
    run = begin(new_run(before))
    expected = rates(run, range(5))
    for epochs in range(5):
        rates(begin(new_run(saved := BackboneFinetuning(1))), range(epochs))
        assert (
            rates(begin(new_run(BackboneFinetuning(1)), state=saved.state_dict()), range(epochs, 5))
            == (expected[epochs:])
        )


def test_batch_norm_is_trained_from_the_start_or_never(new_run: NewRun) -> None:
    for train_bn in (True, False):
        run = begin(new_run(BackboneFinetuning(1, train_bn=train_bn)))
        for epochs in (range(1), range(1, 2)):
            rates(run, epochs)
            assert run.module.backbone[1].weight.requires_grad is train_bn
            assert run.module.backbone[1].track_running_stats is train_bn


def test_an_optimizer_that_holds_the_backbone_already_keeps_its_rate(new_run: NewRun) -> None:
    run = begin(new_run(BackboneFinetuning(1)), all_parameters=True)
    with pytest.warns(UserWarning, match="already"):
        assert rates(run, range(4)) == [[0.1]] * 4
    assert all(parameter.requires_grad for parameter in run.module.parameters())


def test_a_run_that_begins_after_the_epoch_trains_the_backbone_at_once(new_run: NewRun) -> None:
    assert rates(begin(new_run(BackboneFinetuning(1))), range(4, 6)) == [[0.1, 0.1 * 0.1], [0.1, 0.1 * 0.1 * 2]]


def test_another_run_with_the_same_callback_begins_anew(new_run: NewRun) -> None:
    callback = BackboneFinetuning(1)
    first, second = (rates(begin(new_run(callback)), range(3)) for _ in range(2))
    assert first == second


def test_rates_are_told_where_they_may_change(new_run: NewRun, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        rates(begin(new_run(BackboneFinetuning(1, verbose=True, rounding=3))), range(3))
    told = [record.getMessage() for record in caplog.records if "backbone" in record.getMessage()]
    assert told == [
        f"Learning rates in epoch {epoch}: 0.1, of the backbone {rate}." for epoch, rate in ((1, 0.01), (2, 0.02))
    ]


def test_a_module_without_backbone_is_refused(new_run: NewRun) -> None:
    with pytest.raises(MisconfigurationException, match="needs a module with the attribute `backbone`, but Linear"):
        new_run(BackboneFinetuning()).tell("setup", "fit")


def test_several_optimizers_are_refused(new_run: NewRun) -> None:
    run = new_run(BackboneFinetuning())
    run.optimizers = run.optimizers * 2
    with pytest.raises(MisconfigurationException, match=r"for one optimizer.*BaseFinetuning"):
        run.tell("on_fit_start")


def test_the_default_growth_is_two() -> None:
    assert multiplicative(7) == 2.0
