import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from lt_callbacks import EarlyStopping
from lt_callbacks.stopping_rule import EarlyStoppingReason
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.states import RunningStage

NewRun = Callable[..., Any]  # the stand-in run of conftest.py, which tests can't import


def fit(new_run: NewRun, callback: EarlyStopping, *losses: float, **facts: Any) -> Any:
    run = new_run(callback, **facts)
    run.train_metrics = lambda run: {"loss": losses[run.current_epoch]}
    return run.fit(epochs=len(losses), batches=2)


def test_it_stops_when_patience_is_exhausted(new_run: NewRun) -> None:
    callback = EarlyStopping("loss", patience=2)
    run = fit(new_run, callback, 3.0, 2.0, 2.5, 2.5, 1.0)
    assert run.current_epoch == 4
    assert callback.stopped_epoch == 3
    assert callback.stopping_reason is EarlyStoppingReason.PATIENCE_EXHAUSTED
    assert "hasn't improved in 2 checks" in (callback.stopping_reason_message or "")
    assert run.stop_reasons == [f"EarlyStopping: {callback.stopping_reason_message}"]


def test_it_stops_at_a_value_that_is_not_finite(new_run: NewRun) -> None:
    callback = EarlyStopping("loss")
    assert fit(new_run, callback, 1.0, math.nan, 0.5).current_epoch == 2
    assert callback.stopping_reason is EarlyStoppingReason.NON_FINITE_METRIC


def test_it_goes_on_while_the_metric_improves(new_run: NewRun) -> None:
    callback = EarlyStopping("loss", patience=1)
    assert fit(new_run, callback, 3.0, 2.0, 1.0).current_epoch == 3
    assert callback.stopping_reason_message is None
    assert float(callback.best_score) == 1.0


def test_with_two_validations_per_epoch_it_looks_after_each(new_run: NewRun) -> None:
    values = iter([1.0, 2.0, 3.0, 4.0])
    callback = EarlyStopping("vl", patience=2)
    run = new_run(callback, num_val_batches=[1], validate_each=5, val_check_interval=0.5)
    run.val_metrics = lambda run: {"vl": next(values)}
    run.fit(epochs=2)
    assert callback.stopped_epoch == 1
    assert run.global_step == 15


def test_with_one_validation_per_epoch_it_looks_when_the_epoch_ends(new_run: NewRun) -> None:
    callback = EarlyStopping("vl", patience=1)
    run = new_run(callback, num_val_batches=[1], val_metrics=lambda run: {"vl": 1.0})
    run.begin()
    run.validate()
    assert math.isinf(callback.best_score)
    run.tell("on_train_epoch_end")
    assert float(callback.best_score) == 1.0


def test_a_missing_metric_raises_and_lists_what_is_there(new_run: NewRun) -> None:
    with pytest.raises(RuntimeError, match=r"monitor='los'.*Did you mean `loss`.*\['loss'\]"):
        fit(new_run, EarlyStopping("los"), 1.0)


def test_a_missing_metric_is_passed_over_on_request(new_run: NewRun) -> None:
    assert fit(new_run, EarlyStopping("los", strict=False), 1.0).current_epoch == 1
    with pytest.warns(RuntimeWarning, match="found no such metric"):
        fit(new_run, EarlyStopping("los", strict=False, verbose=True), 1.0)


def test_neither_the_sanity_check_nor_a_quick_trial_counts(new_run: NewRun) -> None:
    callback = EarlyStopping("vl", check_on_train_epoch_end=False)
    run = new_run(callback, num_val_batches=[1])
    run.validate(RunningStage.SANITY_CHECKING)
    fit(new_run, EarlyStopping("absent"), 1.0, fast_dev_run=1)


def test_a_negative_min_delta_lets_slightly_worse_values_count(new_run: NewRun) -> None:
    callback = EarlyStopping("loss", patience=1, min_delta=-0.5)
    assert fit(new_run, callback, 1.0, 1.2, 1.4).current_epoch == 3


# --- what code written for Lightning reads, changes and overrides ---


@pytest.mark.parametrize(("mode", "signed"), [("min", -0.5), ("max", 0.5)])
def test_its_limits_can_be_read(mode: str, signed: float) -> None:
    callback = EarlyStopping("loss", min_delta=0.5, mode=mode, stopping_threshold=1.0, divergence_threshold=9.0)
    assert callback.min_delta == signed
    assert callback.monitor_op is (torch.lt if mode == "min" else torch.gt)
    assert (callback.check_finite, callback.stopping_threshold, callback.divergence_threshold) == (True, 1.0, 9.0)


def test_patience_and_what_was_seen_may_be_assigned(new_run: NewRun) -> None:
    callback = EarlyStopping("loss", patience=9)
    fit(new_run, callback, 1.0, 2.0)
    callback.patience, callback.wait_count, callback.best_score = 1, 0, torch.tensor(0.5)
    assert (callback.patience, callback.wait_count, float(callback.best_score)) == (1, 0, 0.5)
    assert fit(new_run, callback, 0.6, 0.4).current_epoch == 1


def test_a_subclass_says_when_a_check_is_skipped(new_run: NewRun) -> None:
    class AfterWarmUp(EarlyStopping):
        def _should_skip_check(self, trainer: Any) -> bool:
            return trainer.current_epoch < 2 or super()._should_skip_check(trainer)

    assert fit(new_run, AfterWarmUp("loss", patience=1), 1.0, 2.0, 3.0, 4.0, 5.0).current_epoch == 4


def test_a_subclass_decides_by_rules_of_its_own(new_run: NewRun) -> None:
    class Below(EarlyStopping):
        def _evaluate_stopping_criteria(self, current: torch.Tensor) -> tuple[bool, str | None]:
            return bool(self.monitor_op(current, torch.tensor(2.0))), "it's low"

    callback = Below("loss")
    run = fit(new_run, callback, 3.0, 1.0, 0.0)
    assert (run.current_epoch, callback.stopped_epoch) == (2, 1)
    assert run.stop_reasons == ["EarlyStopping: it's low"]


def test_a_subclass_may_do_more_in_each_check(new_run: NewRun) -> None:
    class Counts(EarlyStopping):
        checks = 0

        def _run_early_stopping_check(self, trainer: Any) -> None:
            self.checks += 1
            super()._run_early_stopping_check(trainer)

    callback = Counts("loss", patience=1)
    fit(new_run, callback, 1.0, 2.0, 3.0)
    assert (callback.checks, callback.stopped_epoch) == (2, 1)


def test_a_subclass_with_a_method_that_is_never_called_hears_of_it() -> None:
    with pytest.warns(UserWarning, match=r"`Mine` defines `_log_info`, which lt never calls. Override `_should_skip"):
        type("Mine", (EarlyStopping,), {"_log_info": lambda *args: None})


def test_a_resumed_run_goes_on_waiting_with_its_own_patience() -> None:
    first = EarlyStopping("loss", patience=5)
    first.load_state_dict({**first.state_dict(), "wait_count": 2, "best_score": torch.tensor(0.5), "stopped_epoch": 1})
    second = EarlyStopping("loss", patience=3)
    second.load_state_dict(first.state_dict())
    assert (second.wait_count, float(second.best_score), second.stopped_epoch) == (2, 0.5, 1)
    assert second.patience == 3


def test_a_stopped_run_goes_on_when_it_is_resumed_with_more_patience(new_run: NewRun) -> None:
    stopped = EarlyStopping("loss", patience=1)
    fit(new_run, stopped, 1.0, 1.0)
    resumed = EarlyStopping("loss", patience=3)
    resumed.load_state_dict(stopped.state_dict())
    assert fit(new_run, resumed, 1.0).stop_reasons == []
    assert resumed.stopping_reason is EarlyStoppingReason.NOT_STOPPED


def test_the_state_has_the_keys_that_lightning_reads() -> None:
    assert set(EarlyStopping("loss").state_dict()) == {
        *("wait_count", "stopped_epoch", "best_score", "patience", "stopping_reason", "stopping_reason_message")
    }


@pytest.mark.parametrize(
    ("arguments", "names"), [({"mode": "auto"}, "`mode` must be"), ({"patience": -1}, "`patience` must be")]
)
def test_arguments_that_cannot_work_are_refused_by_name(arguments: dict[str, Any], names: str) -> None:
    with pytest.raises(MisconfigurationException, match=names):
        EarlyStopping("loss", **arguments)
