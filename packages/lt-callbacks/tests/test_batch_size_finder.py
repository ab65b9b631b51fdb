from types import SimpleNamespace
from typing import Any

import pytest
from trial_runs import LoadingRun, TrialRun

from lt_callbacks import BatchSizeFinder
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.states import TrainerFn, TrainerState


def found(run: TrialRun, module: Any, **arguments: Any) -> BatchSizeFinder:
    finder = BatchSizeFinder(**arguments)
    finder.on_fit_start(run, module)  # type: ignore[arg-type]  # as much of a run as it needs
    return finder


def module_with(size: int = 2) -> SimpleNamespace:
    return SimpleNamespace(batch_size=size, hparams={})


@pytest.mark.parametrize(
    ("arguments", "size"),
    [({}, 16), ({"mode": "BinSearch"}, 19), ({"mode": "binsearch", "margin": 0}, 20), ({"max_trials": 2}, 4)],
)
def test_the_largest_size_that_fits_is_set(arguments: Any, size: int) -> None:
    module = module_with()
    run = LoadingRun(module, holds=20)
    finder = found(run, module, **arguments)
    assert finder.optimal_batch_size == module.batch_size == size
    assert size in run.sizes


def test_each_size_is_tried_for_so_many_steps() -> None:
    module = module_with()
    run = LoadingRun(module, holds=20)
    found(run, module, steps_per_trial=5)
    assert run.steps == [5, 5, 5, 5, 1]  # the last one doesn't fit


def test_the_first_size_is_tried_also_where_the_module_has_another() -> None:
    module = module_with(2)
    run = LoadingRun(module, holds=20)
    assert found(run, module, init_val=64).optimal_batch_size == 16
    assert run.sizes == [64, 32, 16]


@pytest.mark.parametrize("mode", ["power", "binsearch"])
def test_no_size_above_the_number_of_samples_is_tried(mode: str) -> None:
    module = module_with()
    run = LoadingRun(module, holds=1000, samples=100)
    found(run, module, mode=mode, margin=0)
    assert module.batch_size == max(run.sizes) == 100


def test_sizes_grow_to_the_limit_where_loaders_do_not_say_how_many_samples_there_are() -> None:
    class Streams(LoadingRun):
        def make_loader(self) -> Any:
            return SimpleNamespace(batch_size=self.module.batch_size, dataset=iter(()))

    module = module_with()
    assert found(Streams(module, holds=1000), module, max_val=100).optimal_batch_size == 100


def test_everybody_who_holds_the_size_is_told() -> None:
    module = SimpleNamespace(batch_size=2, hparams={"batch_size": 2})
    datamodule = SimpleNamespace(batch_size=2, hparams={})
    found(LoadingRun(module, holds=20, datamodule=datamodule), module)
    assert [module.batch_size, module.hparams, datamodule.batch_size] == [16, {"batch_size": 16}, 16]


def test_a_size_that_nobody_holds_is_refused() -> None:
    module = module_with()
    with pytest.raises(MisconfigurationException, match=r"`size` to hold a batch size.*`batch_arg_name`"):
        found(LoadingRun(module, holds=20), module, batch_arg_name="size")


def test_memory_for_not_even_one_sample_is_an_error_and_the_size_is_as_before() -> None:
    module = module_with(2)
    with pytest.raises(RuntimeError, match=r"Not even a batch of one sample.*Tried to allocate 2.00 GiB"):
        found(LoadingRun(module, holds=0), module)
    assert module.batch_size == 2


def test_other_errors_go_on_and_the_size_is_as_before() -> None:
    def fails(run: TrialRun) -> float:
        message = "mine"
        raise RuntimeError(message)

    module = module_with(7)
    with pytest.raises(RuntimeError, match="mine"):
        found(TrialRun(fails), module)
    assert module.batch_size == 7


def test_loaders_that_do_not_follow_the_size_are_refused() -> None:
    class Deaf(LoadingRun):
        def make_loader(self) -> Any:
            return SimpleNamespace(batch_size=4, dataset=range(100))

    module = module_with()
    with pytest.raises(MisconfigurationException, match="the same with `batch_size=2` and with 4"):
        found(Deaf(module, holds=20), module)
    assert module.batch_size == 2


def test_loaders_without_a_batch_are_refused() -> None:
    class Empty(LoadingRun):
        def _losses(self, steps: int) -> Any:
            return iter(())

    module = module_with()
    with pytest.raises(MisconfigurationException, match="no training batch"):
        found(Empty(module, holds=20), module)


@pytest.mark.parametrize("facts", [{"world_size": 2}, {"training": True}])
def test_sizes_are_tried_in_one_process_before_training(facts: dict[str, Any]) -> None:
    module = module_with()
    with pytest.raises(MisconfigurationException, match=r"in one process.*`Trainer\(devices=1\)`"):
        found(LoadingRun(module, holds=20, **facts), module)


def test_nothing_is_tried_when_only_the_code_is() -> None:
    module = module_with()
    assert found(LoadingRun(module, holds=20, fast_dev_run=2), module).optimal_batch_size is None


def test_a_resumed_run_takes_the_size_that_was_found() -> None:
    module = module_with()
    saved = found(LoadingRun(module, holds=20), module).state_dict()
    fresh, resumed = module_with(), BatchSizeFinder()
    run = LoadingRun(fresh, holds=1000, ckpt_path="last.ckpt")
    resumed.load_state_dict(saved)
    resumed.on_fit_start(run, fresh)  # type: ignore[arg-type]  # as above
    assert fresh.batch_size == 16
    assert run.sizes == []


@pytest.mark.parametrize("hook", ["on_validation_start", "on_test_start", "on_predict_start"])
def test_other_stages_say_that_nothing_is_tried(hook: str) -> None:
    evaluating = TrialRun(state=TrainerState(fn=TrainerFn.VALIDATING))
    with pytest.warns(UserWarning, match="when fitting starts; here it does nothing"):
        getattr(BatchSizeFinder(), hook)(evaluating, None)
    getattr(BatchSizeFinder(), hook)(TrialRun(), None)  # within fit there's nothing to say


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"mode": "powr"}, "Did you mean `power`"),
        ({"init_val": 0}, "`init_val`"),
        ({"steps_per_trial": 1.5}, "`steps_per_trial`"),
        ({"max_trials": 0}, "`max_trials`"),
        ({"max_val": True}, "`max_val`"),
        ({"margin": 1}, "`margin`"),
    ],
)
def test_wrong_arguments_are_refused_when_it_is_made(arguments: Any, named: str) -> None:
    with pytest.raises(MisconfigurationException, match=named):
        BatchSizeFinder(**arguments)
