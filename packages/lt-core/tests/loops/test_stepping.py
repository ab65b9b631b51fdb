from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_runs import Batches, Heard, Net, by_hand, fit, rows
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lt_core import LightningModule, Trainer
from lt_core.loops.stepping import detached_outputs, loss_of
from lt_interfaces.errors import MisconfigurationException


class Returning(Net):
    """Its training step returns what a function makes of the loss and the batch's index."""

    def __init__(self, outcome: Callable[[Tensor, int], Any]) -> None:
        super().__init__()
        self.outcome = outcome

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        return self.outcome(self.loss(batch), batch_idx)


class Outputs(Heard):
    def __init__(self) -> None:
        super().__init__()
        self.outputs: list[Any] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.outputs.append(outputs)


# --- accumulation windows ---


@settings(deadline=None, max_examples=15)
@given(accumulation=st.integers(1, 7), num_batches=st.integers(1, 7))
def test_gradient_of_a_window_is_that_of_the_whole_batch(accumulation: int, num_batches: int) -> None:
    data = Batches(rows(num_batches))
    net = Net()
    trainer = fit(Path(), net, data=data, accumulate_grad_batches=accumulation)
    windows = [data[start : start + accumulation] for start in range(0, num_batches, accumulation)]
    torch.testing.assert_close(net.weights, by_hand([torch.cat(window) for window in windows]))
    assert trainer.global_step == len(windows)


def test_last_shorter_window_divides_by_what_it_held(tmp_path: Path) -> None:
    data, net = Batches(rows(4)), Net()
    fit(tmp_path, net, data=data, accumulate_grad_batches=3)
    torch.testing.assert_close(net.weights, by_hand([torch.cat(data[:3]), data[3]]))


def test_last_shorter_window_of_data_without_length_divides_by_what_it_held(tmp_path: Path) -> None:
    data, net = Batches(rows(4)), Net()
    fit(tmp_path, net, data=(batch for batch in data), accumulate_grad_batches=3)
    torch.testing.assert_close(net.weights, by_hand([torch.cat(data[:3]), data[3]]))


def test_windows_do_not_reach_over_epochs(tmp_path: Path) -> None:
    assert fit(tmp_path, Net(), data=rows(3), accumulate_grad_batches=2, max_epochs=2).global_step == 4


def test_hooks_of_a_step_are_heard_once_per_window(tmp_path: Path) -> None:
    heard = Heard()
    fit(tmp_path, Net(), heard, accumulate_grad_batches=2)
    counted = [heard.count(name) for name in ("on_before_zero_grad", "on_before_backward", "on_before_optimizer_step")]
    assert counted == [2, 4, 2]


def test_accumulation_changes_with_the_next_window(tmp_path: Path) -> None:
    class Widen(Heard):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            trainer.accumulate_grad_batches = 3 if batch_idx >= 1 else 2

    assert fit(tmp_path, Net(), Widen(), data=rows(5)).global_step == 2  # 2 batches, then 3


# --- what a training step returns ---


def test_outputs_carry_the_loss_as_returned_and_without_graph(tmp_path: Path) -> None:
    outputs = Outputs()
    module = Returning(lambda loss, _: {"loss": loss * 0 + 6, "extra": 1, "nested": [loss]})
    fit(tmp_path, module, outputs, accumulate_grad_batches=3)
    assert [output["loss"].item() for output in outputs.outputs] == [6.0] * 4
    assert outputs.outputs[0]["extra"] == 1
    assert not outputs.outputs[0]["nested"][0].requires_grad


def test_tensor_reaches_hooks_as_the_loss_of_a_dict(tmp_path: Path) -> None:
    outputs = Outputs()
    fit(tmp_path, Net(), outputs)
    assert [list(output) for output in outputs.outputs] == [["loss"]] * 4
    assert not outputs.outputs[0]["loss"].requires_grad


def test_user_dict_is_left_as_it_was() -> None:
    loss = torch.ones((), requires_grad=True)
    given_outputs = {"loss": loss}
    assert not detached_outputs(given_outputs)["loss"].requires_grad
    assert given_outputs["loss"].requires_grad


@pytest.mark.filterwarnings("ignore:`training_step` returned None")
def test_none_takes_no_step_and_leaves_the_weights(tmp_path: Path) -> None:
    net, outputs = Returning(lambda *_: None), Outputs()
    before = net.weights
    trainer = fit(tmp_path, net, outputs)
    assert (trainer.global_step, trainer.current_epoch) == (0, 1)
    assert torch.equal(net.weights, before)
    assert outputs.outputs == [{"loss": None}] * 4


@pytest.mark.filterwarnings("ignore:`training_step` returned None")
def test_none_leaves_its_micro_batch_out_of_the_window(tmp_path: Path) -> None:
    data, net = Batches(rows(4)), Returning(lambda loss, index: None if index in (1, 3) else loss)
    fit(tmp_path, net, data=data, accumulate_grad_batches=4)
    torch.testing.assert_close(net.weights, by_hand([torch.cat([data[0], data[2]])]))


@pytest.mark.parametrize("outcome", [1.0, "loss", [], (torch.ones(1),), {}, {"lss": 1}, {"loss": 0.5}, {"loss": None}])
def test_other_outcomes_are_refused_with_what_is_accepted(outcome: Any, tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match=r"`training_step` must return a tensor.*a dict.*None"):
        fit(tmp_path, Returning(lambda *_: outcome))


def test_loss_is_found_in_any_mapping() -> None:
    loss = torch.ones(())
    assert loss_of(loss) is loss
    assert loss_of({"loss": loss, "more": 2}) is loss
    assert loss_of(None) is None


def test_loss_without_grad_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"`Returning\.training_step` returned doesn't depend on any parameter"):
        fit(tmp_path, Returning(lambda loss, _: loss.detach()))


def test_own_backward_may_take_a_loss_without_grad(tmp_path: Path) -> None:
    class Own(Returning):
        def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
            self.layer.weight.grad = torch.ones_like(self.layer.weight)

    net = Own(lambda loss, _: loss.detach())
    fit(tmp_path, net, data=rows(1))
    torch.testing.assert_close(net.layer.weight.detach(), torch.full((1, 3), 0.4))


def test_training_step_may_take_the_batch_alone(tmp_path: Path) -> None:
    class Short(Net):
        def training_step(self, batch: Tensor) -> Tensor:  # type: ignore[override]  # users may leave out the index
            return self.loss(batch)

    data, net = Batches(rows()), Short()
    fit(tmp_path, net, data=data)
    torch.testing.assert_close(net.weights, by_hand(data))


# --- methods of the module that take part ---


class OwnStep(Net):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Any, ...]] = []

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        self.seen.append((epoch, batch_idx, type(optimizer).__name__))
        optimizer.step(closure=optimizer_closure)


def test_own_optimizer_step_is_asked_once_per_window(tmp_path: Path) -> None:
    net = OwnStep()
    trainer = fit(tmp_path, net, accumulate_grad_batches=2, max_epochs=2)
    assert [part[:2] for part in net.seen] == [(0, 1), (0, 3), (1, 1), (1, 3)]
    assert {part[2] for part in net.seen} == {"LightningSGD"}
    assert trainer.global_step == 4


def test_own_optimizer_step_trains_as_the_default_does(tmp_path: Path) -> None:
    data, net = Batches(rows()), OwnStep()
    fit(tmp_path, net, data=data)
    torch.testing.assert_close(net.weights, by_hand(data))


class RunsClosureItself(Net):
    """Takes a step with every second batch only, but makes gradients with each."""

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        if batch_idx % 2 == 1:
            optimizer.step(closure=optimizer_closure)
        elif optimizer_closure is not None:
            optimizer_closure()


def test_only_steps_that_were_taken_are_counted(tmp_path: Path) -> None:
    data, net = Batches(rows()), RunsClosureItself()
    trainer = fit(tmp_path, net, data=data)
    assert trainer.global_step == 2
    torch.testing.assert_close(net.weights, by_hand([data[1], data[3]]))


def test_own_optimizer_step_that_forgets_the_closure_is_refused(tmp_path: Path) -> None:
    class Forgets(Net):
        def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
            pass

    with pytest.raises(MisconfigurationException, match=r"`Forgets.optimizer_step` returned without running"):
        fit(tmp_path, Forgets())


def test_own_zero_grad_replaces_the_default(tmp_path: Path) -> None:
    class KeepsGradients(Net):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[tuple[int, int]] = []

        def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any) -> None:
            self.seen.append((epoch, batch_idx))

    data, net = Batches(rows(2)), KeepsGradients()
    fit(tmp_path, net, data=data)
    assert net.seen == [(0, 0), (0, 1)]
    assert not torch.allclose(net.weights, by_hand(data))  # the first batch's gradients were used twice


def test_own_zero_grad_sees_the_batch_that_begins_each_window(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    class Notes(Net):
        def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any) -> None:
            seen.append((epoch, batch_idx))
            optimizer.zero_grad()

    fit(tmp_path, Notes(), accumulate_grad_batches=2, max_epochs=2)
    assert seen == [(0, 0), (0, 2), (1, 0), (1, 2)]


def test_own_backward_gets_the_scaled_loss(tmp_path: Path) -> None:
    seen: list[float] = []

    class Own(Returning):
        def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
            seen.append(loss.item())
            loss.backward(*args, **kwargs)

    fit(tmp_path, Own(lambda loss, _: loss * 0 + 6), data=rows(2), accumulate_grad_batches=2)
    assert seen == [3.0, 3.0]


def test_gradients_are_clipped_after_hooks_saw_them(tmp_path: Path) -> None:
    norms: list[float] = []

    class Looks(Heard):
        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            norms.append(torch.linalg.vector_norm(pl_module.layer.weight.grad).item())

    net = Net()
    before = net.weights
    fit(tmp_path, net, Looks(), data=rows(1), gradient_clip_val=0.01)
    assert norms[0] > 0.01
    torch.testing.assert_close(torch.linalg.vector_norm(net.weights - before).item(), 0.1 * 0.01, rtol=1e-3, atol=0)


# --- optimizers that evaluate their closure ---


class WithLBFGS(Net):
    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters(), lr=0.5, max_iter=5)


def test_lbfgs_takes_the_steps_it_takes_by_hand(tmp_path: Path) -> None:
    data = Batches(rows(3))
    net, same = WithLBFGS(), WithLBFGS()
    trainer = fit(tmp_path, net, data=data)
    optimizer = same.configure_optimizers()

    def closure(batch: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = same.loss(batch)
        loss.backward()
        return loss

    for batch in data:
        optimizer.step(lambda batch=batch: closure(batch))
    torch.testing.assert_close(net.weights, same.weights)
    assert trainer.global_step == 3


def test_lbfgs_with_accumulation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match="evaluates its closure several times"):
        fit(tmp_path, WithLBFGS(), accumulate_grad_batches=2)


@pytest.mark.filterwarnings("ignore:`configure_optimizers` returned None")
def test_fit_without_optimizer_runs_every_batch(tmp_path: Path) -> None:
    class Free(Net):
        def configure_optimizers(self) -> None:
            return None

    net, heard = Free(), Heard()
    before = net.weights
    fit(tmp_path, net, heard)
    assert heard.count("on_train_batch_end") == 4
    assert torch.equal(net.weights, before)


class CountsClearing(torch.optim.SGD):
    """Brings its own `zero_grad`."""

    cleared = 0

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.cleared += 1
        super().zero_grad(set_to_none)


def test_an_optimizer_with_its_own_zero_grad_is_asked_to_clear() -> None:
    class Clears(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 1)

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            loss: Tensor = self.layer(batch).sum()
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            self.own = CountsClearing(self.parameters(), lr=0.1)
            return self.own

    module = Clears()
    Trainer(max_epochs=1, barebones=True).fit(module, DataLoader(torch.ones(3, 2)))
    assert module.own.cleared == 3
