from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from lt_callbacks import EMAWeightAveraging, WeightAveraging
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.states import TrainerFn
from lt_interfaces.strategy import Capability

NewRun = Callable[..., Any]  # the stand-in run of conftest.py, which tests can't import


class Number(nn.Module):
    """One weight, beside a buffer and a count."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.register_buffer("level", torch.zeros(1))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))


def begin(run: Any) -> Any:
    run.module = Number()
    run.tell("setup", "fit")
    run.tell("on_fit_start")
    return run


def step_to(run: Any, *weights: float, epoch_ends: bool = False) -> Any:
    """Take one optimizer step to each weight; the buffers follow."""
    for weight in weights:
        run.module.weight.data.fill_(weight)
        run.module.level.fill_(weight)
        run.module.count += 1
        run.global_step += 1
        run.tell("on_train_batch_end", None, None, 0)
    if epoch_ends:
        run.tell("on_train_epoch_end")
        run.current_epoch += 1
    return run


def validated(run: Any) -> float:
    """Return the weight that validation has."""
    run.tell("on_validation_epoch_start")
    seen: float = run.module.weight.item()
    run.tell("on_validation_epoch_end")
    return seen


def checkpoint(run: Any) -> dict[str, Any]:
    (callback,) = run.callbacks
    content = {"state_dict": run.module.state_dict(), "callbacks": {callback.state_key: callback.state_dict()}}
    callback.on_save_checkpoint(run, run.module, content)
    return {
        name: {key: tensor.clone() for key, tensor in part.items()} if name != "callbacks" else part
        for name, part in content.items()
    }


def resumed(new_run: NewRun, callback: WeightAveraging, content: dict[str, Any], **facts: Any) -> Any:
    run = new_run(callback, **facts)
    run.module = Number()
    run.tell("setup", "fit")
    run.module.load_state_dict(content["state_dict"])
    callback.on_load_checkpoint(run, run.module, content)
    callback.load_state_dict(content["callbacks"][callback.state_key])
    run.tell("on_fit_start")
    return run


def test_validation_has_the_mean_of_the_weights_and_training_its_own(new_run: NewRun) -> None:
    run = step_to(begin(new_run(WeightAveraging())), 2.0, 4.0, 9.0)
    assert validated(run) == 5.0
    assert run.module.weight.item() == 9.0


def test_before_the_first_step_validation_has_the_first_weights(new_run: NewRun) -> None:
    assert validated(begin(new_run(WeightAveraging()))) == 0.0


def test_the_module_ends_with_the_average(new_run: NewRun) -> None:
    run = step_to(begin(new_run(WeightAveraging())), 2.0, 4.0)
    run.tell("on_train_end")
    assert (run.module.weight.item(), run.module.level.item()) == (3.0, 3.0)
    assert validated(run) == 3.0


def test_buffers_are_the_current_ones_if_they_are_not_to_be_averaged(new_run: NewRun) -> None:
    run = step_to(begin(new_run(WeightAveraging(use_buffers=False))), 2.0, 4.0)
    run.tell("on_train_end")
    assert (run.module.weight.item(), run.module.level.item(), run.module.count.item()) == (3.0, 4.0, 2)


def test_a_moving_average_follows_the_weights(new_run: NewRun) -> None:
    run = begin(new_run(EMAWeightAveraging(decay=0.5)))
    assert [validated(step_to(run, weight)) for weight in (4.0, 8.0, 0.0)] == [4.0, 6.0, 3.0]


def test_micro_batches_without_a_step_do_not_count(new_run: NewRun) -> None:
    run = step_to(begin(new_run(WeightAveraging())), 2.0)
    for _ in range(3):
        run.tell("on_train_batch_end", None, None, 0)
    assert validated(step_to(run, 4.0)) == 3.0


def test_steps_to_update_at_can_be_said(new_run: NewRun) -> None:
    ema = EMAWeightAveraging(decay=0.5, update_every_n_steps=2, update_starting_at_step=2)
    run = begin(new_run(ema))
    assert [validated(step_to(run, weight)) for weight in (1.0, 2.0, 4.0, 6.0, 8.0)] == [0.0, 0.0, 4.0, 4.0, 6.0]


def test_epochs_to_update_at_can_be_said(new_run: NewRun) -> None:
    ema = EMAWeightAveraging(decay=0.5, update_starting_at_step=10**6, update_starting_at_epoch=1)
    run = begin(new_run(ema))
    ends = [validated(step_to(run, weight, epoch_ends=True)) for weight in (1.0, 2.0, 4.0)]
    assert ends == [0.0, 2.0, 3.0]


def test_a_subclass_says_when_to_update(new_run: NewRun) -> None:
    class Even(WeightAveraging):
        def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
            return step_idx is not None and step_idx % 2 == 0

    assert validated(step_to(begin(new_run(Even())), 2.0, 100.0, 4.0)) == 3.0


def test_a_checkpoint_holds_the_average_and_beside_it_what_is_trained(new_run: NewRun) -> None:
    content = checkpoint(step_to(begin(new_run(WeightAveraging())), 2.0, 4.0))
    assert content["state_dict"]["weight"].item() == 3.0
    assert content["current_model_state"]["weight"].item() == 4.0
    assert content["averaging_state"]["n_averaged"].item() == 2


def test_a_checkpoint_saved_in_validation_holds_the_same(new_run: NewRun) -> None:
    run = step_to(begin(new_run(WeightAveraging())), 2.0, 4.0)
    before = checkpoint(run)
    run.tell("on_validation_epoch_start")
    assert str(checkpoint(run)) == str(before)


def test_a_file_of_weights_holds_the_average(new_run: NewRun) -> None:
    callback = WeightAveraging()
    run = step_to(begin(new_run(callback)), 2.0, 4.0)
    assert callback.weights_to_save(run.module, run.module.state_dict())["weight"].item() == 3.0
    run.tell("on_train_end")
    assert callback.weights_to_save(run.module, run.module.state_dict())["weight"].item() == 3.0


def test_what_fails_in_validation_saves_what_is_trained(new_run: NewRun) -> None:
    run = step_to(begin(new_run(WeightAveraging())), 2.0, 4.0)
    run.tell("on_validation_epoch_start")
    run.tell("on_exception", RuntimeError())
    assert run.module.weight.item() == 4.0


@pytest.mark.parametrize("make", [WeightAveraging, lambda: EMAWeightAveraging(decay=0.5)])
def test_a_resumed_run_goes_on_with_both(make: Callable[[], WeightAveraging], new_run: NewRun) -> None:
    whole = step_to(begin(new_run(make())), 2.0, 4.0)
    content = checkpoint(whole)
    again = resumed(new_run, make(), content, global_step=2)
    assert again.module.weight.item() == 4.0
    assert validated(again) == 3.0
    assert validated(step_to(again, 9.0)) == validated(step_to(whole, 9.0))


def test_an_epoch_that_has_updated_does_not_do_so_again_after_a_resume(new_run: NewRun) -> None:
    def ema() -> EMAWeightAveraging:
        return EMAWeightAveraging(decay=0.5, update_starting_at_step=10**6, update_starting_at_epoch=0)

    run = step_to(begin(new_run(ema())), 2.0, epoch_ends=True)
    content = checkpoint(step_to(run, 4.0))
    again = resumed(new_run, ema(), content, global_step=2)
    again.tell("on_train_epoch_end")  # of the epoch that's over
    assert validated(again) == 2.0


def test_a_run_that_goes_on_after_its_end_keeps_the_weight_of_its_average(new_run: NewRun) -> None:
    run = step_to(begin(new_run(WeightAveraging())), 2.0, 4.0)
    run.tell("on_train_end")
    again = resumed(new_run, WeightAveraging(), checkpoint(run), global_step=2)
    assert validated(step_to(again, 9.0)) == 5.0


def test_a_plain_checkpoint_begins_a_new_average_with_a_warning(new_run: NewRun) -> None:
    callback = WeightAveraging()
    content = {
        "state_dict": step_to(begin(new_run(WeightAveraging())), 7.0).module.state_dict(),
        "callbacks": {callback.state_key: callback.state_dict()},
    }
    with pytest.warns(UserWarning, match="without averaging weights"):
        run = resumed(new_run, callback, content)
    assert validated(run) == 7.0
    assert validated(step_to(run, 3.0)) == 3.0


def test_evaluation_takes_a_checkpoint_as_it_is(new_run: NewRun) -> None:
    content = checkpoint(step_to(begin(new_run(WeightAveraging())), 2.0, 4.0))
    callback = WeightAveraging()
    run = new_run(callback)
    run.state.fn = TrainerFn.TESTING
    run.tell("setup", "test")
    callback.on_load_checkpoint(run, run.module, content)
    assert checkpoint(run).keys() == {"state_dict", "callbacks"}


def test_a_second_fit_begins_a_new_average(new_run: NewRun) -> None:
    run = step_to(begin(new_run(WeightAveraging())), 100.0)
    run.tell("on_train_end")
    assert validated(step_to(begin(run), 2.0, 4.0)) == 3.0


def test_the_average_may_be_kept_elsewhere(new_run: NewRun) -> None:
    run = begin(new_run(WeightAveraging("meta")))
    average = run.callbacks[0]._average
    assert {tensor.device.type for tensor in average.module.parameters()} == {"meta"}


def test_shared_weights_are_averaged_once_and_saved_under_all_their_names(new_run: NewRun) -> None:
    class Tied(Number):
        def __init__(self) -> None:
            super().__init__()
            self.tied = self.weight

    run = new_run(WeightAveraging())
    run.module = Tied()
    run.tell("setup", "fit")
    run.tell("on_fit_start")
    content = checkpoint(step_to(run, 2.0, 4.0))
    assert content["state_dict"]["weight"] == content["state_dict"]["tied"] == 3.0


def test_strategies_that_hold_weights_elsewhere_are_refused(new_run: NewRun) -> None:
    run = new_run(WeightAveraging())
    run.strategy.unsupported = [Capability.TRIAL_RUN]
    with pytest.raises(MisconfigurationException, match="exchanges whole weights"):
        begin(run)


def test_sharded_weights_are_refused(new_run: NewRun) -> None:
    run = new_run(WeightAveraging())
    run.module.weight.full_tensor = None
    with pytest.raises(MisconfigurationException, match="exchanges whole weights"):
        run.tell("on_fit_start")


def test_another_argument_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"`avg_func` isn't an argument of `AveragedModel`.*Did you mean `avg_fn`"):
        WeightAveraging(avg_func=None)


def test_a_function_of_torchs_may_average(new_run: NewRun) -> None:
    latest = WeightAveraging(avg_fn=lambda average, current, count: current)
    assert validated(step_to(begin(new_run(latest)), 2.0, 9.0)) == 9.0


def test_senseless_distances_between_updates_are_refused() -> None:
    with pytest.raises(MisconfigurationException, match="`update_every_n_steps` must be"):
        EMAWeightAveraging(update_every_n_steps=0)
