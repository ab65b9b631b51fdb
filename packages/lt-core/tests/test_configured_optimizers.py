from collections.abc import Callable
from typing import Any

import pytest
from torch import nn, optim
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from lt_core.configured_optimizers import ConfiguredOptimizers, NoOptimizer, configured_optimizers
from lt_interfaces.errors import MisconfigurationException


def sgd() -> optim.SGD:
    return optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)


def step_lr(optimizer: optim.Optimizer) -> StepLR:
    return StepLR(optimizer, step_size=1)


class OwnScheduler:
    """A scheduler as another library would bring it: state, but not torch's class."""

    def __init__(self, optimizer: optim.Optimizer) -> None:
        self.optimizer = optimizer

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        pass


def read(returned: Any, automatic: bool = True, overrides_scheduler_step: bool = False) -> ConfiguredOptimizers:
    return configured_optimizers(returned, automatic=automatic, overrides_scheduler_step=overrides_scheduler_step)


Form = Callable[[optim.Optimizer, StepLR], Any]


@pytest.mark.parametrize(
    ("form", "num_schedulers"),
    [
        (lambda optimizer, _: optimizer, 0),
        (lambda optimizer, _: [optimizer], 0),
        (lambda optimizer, _: (optimizer,), 0),
        (lambda optimizer, _: {"optimizer": optimizer}, 0),
        (lambda optimizer, _: ([optimizer], []), 0),
        (lambda optimizer, scheduler: ([optimizer], scheduler), 1),
        (lambda optimizer, scheduler: [[optimizer], [scheduler]], 1),
        (lambda optimizer, scheduler: ([optimizer], [{"scheduler": scheduler, "interval": "step"}]), 1),
        (lambda optimizer, scheduler: ([optimizer], {"scheduler": scheduler}), 1),
        (lambda optimizer, scheduler: {"optimizer": optimizer, "lr_scheduler": scheduler}, 1),
        (lambda optimizer, scheduler: {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler}}, 1),
        (lambda optimizer, scheduler: [{"optimizer": optimizer, "lr_scheduler": scheduler}], 1),
    ],
)
def test_every_form_of_one_optimizer_is_read(form: Form, num_schedulers: int) -> None:
    optimizer = sgd()
    scheduler = step_lr(optimizer)
    found = read(form(optimizer, scheduler))
    assert found.optimizers == [optimizer]
    assert [config.scheduler for config in found.schedulers] == [scheduler] * num_schedulers
    assert found.optimizer_indices == [0] * num_schedulers


@pytest.mark.parametrize("container", [list, tuple])
def test_several_optimizers_keep_their_order_and_schedulers_know_theirs(container: type) -> None:
    first, second = sgd(), sgd()
    assert read(container([first, second]), automatic=False).optimizers == [first, second]
    found = read(([first, second], [step_lr(second), step_lr(first)]), automatic=False)
    assert found.optimizer_indices == [1, 0]
    found = read([{"optimizer": first}, {"optimizer": second, "lr_scheduler": step_lr(second)}], automatic=False)
    assert found.optimizers == [first, second]
    assert found.optimizer_indices == [1]


def test_several_optimizers_need_manual_optimization() -> None:
    with pytest.raises(RuntimeError, match="automatic_optimization = False"):
        read([sgd(), sgd()])


def test_none_warns_and_steps_run_the_closure_alone() -> None:
    with pytest.warns(UserWarning, match="returned None"):
        (optimizer,) = read(None).optimizers
    assert isinstance(optimizer, NoOptimizer)
    assert optimizer.step(lambda: 7.0) == 7.0
    assert optimizer.step() is None
    assert optimizer.param_groups == []
    optimizer.zero_grad()
    optimizer.load_state_dict({"state": {0: "another run's"}})
    assert optimizer.state_dict() == {}


@pytest.mark.parametrize("returned", [5, "sgd", [], (), {}, [5], {"lr_scheduler": None}, [[], []], [{"optimizer": 3}]])
def test_anything_else_is_refused(returned: Any) -> None:
    with pytest.raises(MisconfigurationException, match="`configure_optimizers` returned"):
        read(returned)


def test_unknown_keys_warn_with_a_suggestion() -> None:
    optimizer = sgd()
    with pytest.warns(RuntimeWarning, match="`lr_schedule` from .* Did you mean `lr_scheduler`"):
        assert read({"optimizer": optimizer, "lr_schedule": step_lr(optimizer)}).schedulers == []


def test_scheduler_of_another_optimizer_is_refused() -> None:
    with pytest.raises(MisconfigurationException, match="StepLR for an optimizer that it didn't return"):
        read(([sgd()], [step_lr(sgd())]))


def test_scheduler_without_state_is_refused() -> None:
    with pytest.raises(TypeError, match="state_dict"):
        read(([sgd()], [object()]))


def test_scheduler_that_is_not_torchs_needs_its_own_step() -> None:
    optimizer = sgd()
    returned = ([optimizer], [OwnScheduler(optimizer)])
    with pytest.raises(MisconfigurationException, match="lr_scheduler_step"):
        read(returned)
    assert len(read(returned, overrides_scheduler_step=True).schedulers) == 1
    assert len(read(returned, automatic=False).schedulers) == 1


def test_plateau_takes_the_monitor_beside_it() -> None:
    optimizer = sgd()
    plateau = ReduceLROnPlateau(optimizer)
    for returned in (
        {"optimizer": optimizer, "lr_scheduler": plateau, "monitor": "loss"},
        {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau}, "monitor": "loss"},
        {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "loss"}, "monitor": "other"},
        [{"optimizer": optimizer, "lr_scheduler": plateau, "monitor": "loss"}],
    ):
        (config,) = read(returned).schedulers
        assert config.reduce_on_plateau
        assert config.monitor == "loss"


def test_plateau_without_monitor_is_refused_where_the_loop_steps_it() -> None:
    optimizer = sgd()
    with pytest.raises(MisconfigurationException, match="monitor"):
        read(([optimizer], [ReduceLROnPlateau(optimizer)]))
    assert len(read(([optimizer], [ReduceLROnPlateau(optimizer)]), automatic=False).schedulers) == 1


def test_manual_optimization_says_what_does_nothing() -> None:
    optimizer = sgd()
    settings = {"scheduler": step_lr(optimizer), "monitor": "loss", "strict": False}
    with pytest.warns(RuntimeWarning, match="`monitor`, `strict`"):
        assert len(read({"optimizer": optimizer, "lr_scheduler": settings}, automatic=False).schedulers) == 1
