from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import CALLBACK_EVENTS, Heard, Journal, Net, Saver, fit, rows, trainer_with
from torch import Tensor

from lt_core import Trainer
from lt_interfaces.callback import Callback
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.hooks import HOOKS, Hearer, Kind


class Boom(Exception):
    """What a test's hook raises."""


class Fails(Heard):
    """Raises in one hook, when it's heard for the first time."""

    def __init__(self, hook: str, failure: BaseException | None = None) -> None:
        super().__init__()
        self.failure = Boom(hook) if failure is None else failure
        self.hook = hook
        setattr(self, hook, self._fail)

    def _fail(self, *args: Any) -> None:
        self.names.append(self.hook)
        if self.names.count(self.hook) == 1:
            raise self.failure


class Ends(Callback):
    """Notes how a run ends, in order."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self.seen.append((exception, trainer.state.status))

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self.seen.append(stage)


def run_all(trainer: Trainer, net: Net, path: Path) -> None:
    """Go through every hook there is, one entry point after the other."""
    trainer.fit(net, rows(1), rows(1), ckpt_path=path)
    trainer.save_checkpoint(path.with_name("again.ckpt"))
    trainer.test(net, rows(1), verbose=False)
    trainer.predict(net, rows(1))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("entry") / "x.ckpt"
    fit(path.parent, Net(), data=rows(1), max_epochs=1).save_checkpoint(path)
    return path


# --- failures ---


IN_A_RUN = [name for name in CALLBACK_EVENTS if name not in ("on_exception", "on_save_checkpoint")]


@pytest.mark.parametrize("hook", IN_A_RUN)
def test_failure_in_any_hook_of_a_callback_ends_the_run_in_order(hook: str, checkpoint: Path, tmp_path: Path) -> None:
    fails, ends, journal = Fails(hook), Ends(), Journal()
    trainer = trainer_with(tmp_path, ends, fails, logger=journal, max_epochs=2)
    with pytest.raises(Boom) as caught:
        run_all(trainer, Net(), checkpoint)
    assert caught.value is fails.failure
    assert trainer.state.status == "interrupted"
    assert trainer.state.stage is None
    assert trainer.interrupted
    assert journal.endings[-1] == "failed"
    assert (fails.failure, "interrupted") in ends.seen
    assert isinstance(ends.seen[-1], str)  # teardown came last
    assert fails.count("on_exception") == 1


MODULE_EVENTS = [
    hook.name
    for hook in HOOKS
    if Hearer.MODULE in hook.heard_by
    and hook.kind is not Kind.SETTING
    and hook.name not in ("on_save_checkpoint", "lr_scheduler_step", "predict_step")
]


@pytest.mark.parametrize("hook", MODULE_EVENTS)
def test_failure_in_any_hook_of_the_module_ends_the_run_in_order(hook: str, checkpoint: Path, tmp_path: Path) -> None:
    class FailsInside(Net):
        failed = False

    def fail(self: FailsInside, *args: Any, **kwargs: Any) -> Any:
        if self.failed:
            return None
        self.failed = True
        raise Boom(hook)

    setattr(FailsInside, hook, fail)
    ends, journal = Ends(), Journal()
    trainer = trainer_with(tmp_path, ends, logger=journal, max_epochs=2)
    with pytest.raises(Boom, match=hook):
        run_all(trainer, FailsInside(), checkpoint)
    assert trainer.state.status == "interrupted"
    assert journal.endings[-1] == "failed"
    assert isinstance(ends.seen[-1], str)
    assert trainer.recorder is not None
    assert trainer.recorder.hook is None


@pytest.mark.parametrize("place", ["configure_optimizers", "configure_model", "training_step", "train_dataloader"])
def test_failure_while_a_run_is_put_together_ends_it_in_order(place: str, tmp_path: Path) -> None:
    class FailsInside(Net):
        pass

    def fail(self: FailsInside, *args: Any) -> Any:
        raise Boom(place)

    setattr(FailsInside, place, fail)
    ends, journal = Ends(), Journal()
    trainer = trainer_with(tmp_path, ends, logger=journal, limit_val_batches=0)
    with pytest.raises(Boom, match=place):
        trainer.fit(FailsInside(), None if place == "train_dataloader" else rows())
    assert (trainer.state.status, journal.endings, ends.seen[1:]) == ("interrupted", ["failed"], ["fit"])


def test_failure_to_save_comes_out(tmp_path: Path) -> None:
    fails = Fails("on_save_checkpoint")
    with pytest.raises(Boom):
        fit(tmp_path, Net(), Saver(tmp_path / "x.ckpt", "on_train_epoch_end"), fails)
    assert not (tmp_path / "x.ckpt").exists()


def test_first_failure_is_the_one_that_comes_out_and_tells_of_the_others(tmp_path: Path) -> None:
    class FailsTwice(Fails):
        def on_exception(self, *args: Any) -> None:
            message = "while handling"
            raise KeyError(message)

        def teardown(self, *args: Any) -> None:
            message = "while tearing down"
            raise OSError(message)

    fails, journal = FailsTwice("on_train_start"), Journal()
    with pytest.raises(Boom) as caught:
        fit(tmp_path, Net(), fails, logger=journal)
    assert caught.value is fails.failure
    notes = "\n".join(caught.value.__notes__)
    assert "while handling" in notes
    assert "while tearing down" in notes
    assert journal.endings == ["failed"]


@pytest.mark.parametrize("hook", ["on_exception", "teardown"])
def test_failure_while_ending_keeps_nobody_else_from_hearing_of_the_end(hook: str, tmp_path: Path) -> None:
    ends = Ends()
    with pytest.raises(Boom, match="on_train_start"):
        fit(tmp_path, Net(), Fails(hook), Fails("on_train_start"), ends)
    assert [seen if isinstance(seen, str) else "exception" for seen in ends.seen] == ["exception", "fit"]


@pytest.mark.parametrize("hook", ["setup", "on_train_batch_start", "on_train_end"])
def test_teardown_is_told_once(hook: str, tmp_path: Path) -> None:
    ends = Ends()
    with pytest.raises(Boom):
        fit(tmp_path, Net(), ends, Fails(hook))
    assert ends.seen.count("fit") == 1


@pytest.mark.parametrize("stage", ["fit", "validate", "predict"])
def test_interrupt_from_the_keyboard_ends_the_program(stage: str, tmp_path: Path) -> None:
    hook = {"fit": "on_train_start", "validate": "on_validation_start", "predict": "on_predict_start"}[stage]
    interrupt, ends, journal = KeyboardInterrupt(), Ends(), Journal()
    trainer = trainer_with(tmp_path, ends, Fails(hook, interrupt), logger=journal, limit_val_batches=1)
    with pytest.raises(SystemExit) as caught:
        getattr(trainer, stage)(Net(), rows(1), *([rows(1)] if stage == "fit" else []))
    assert caught.value.code == 1
    assert ends.seen == [(interrupt, "interrupted"), stage]
    assert (trainer.state.status, trainer.state.stage, journal.endings) == ("interrupted", None, ["failed"])


def test_exit_asked_for_by_a_hook_is_passed_on(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        fit(tmp_path, Net(), Fails("on_train_start", SystemExit(7)))
    assert caught.value.code == 7


def test_refusal_before_the_run_starts_runs_no_hook(tmp_path: Path) -> None:
    heard = Heard()
    trainer = trainer_with(tmp_path, heard)
    with pytest.raises(MisconfigurationException):
        trainer.fit(Net())
    assert heard.names == []


def test_trainer_works_again_after_a_failure(tmp_path: Path) -> None:
    heard, net = Heard(), Net()
    trainer = trainer_with(tmp_path, Fails("on_train_batch_end"), heard, limit_val_batches=0)
    with pytest.raises(Boom):
        trainer.fit(net, rows())
    heard.names.clear()
    trainer.fit(net, rows())
    assert trainer.state.status == "finished"
    assert heard.count("on_train_epoch_start") == 1  # the epoch begins anew
    assert heard.count("on_train_batch_end") == 4
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    progress = torch.load(tmp_path / "x.ckpt", weights_only=True)["lt"]["progress"]
    assert (progress["epochs_completed"], progress["batches_in_epoch"]) == (1, 0)


def test_epoch_begun_anew_counts_its_batches_from_zero(tmp_path: Path) -> None:
    seen: list[int] = []

    class Notes(Net):
        def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any) -> None:
            seen.append(batch_idx)
            optimizer.zero_grad()

    net = Notes()
    trainer = trainer_with(tmp_path, Fails("on_train_batch_end"), limit_val_batches=0)
    with pytest.raises(Boom):
        trainer.fit(net, rows())
    seen.clear()
    trainer.fit(net, rows())
    assert seen == [0, 1, 2, 3]


# --- a run that goes well ---


@pytest.mark.parametrize("stage", ["fit", "validate", "test", "predict"])
def test_run_that_goes_well_is_finished(stage: str, tmp_path: Path) -> None:
    ends, journal, states = Ends(), Journal(), []

    class Looks(Callback):
        def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
            states.append((trainer.state.status, trainer.state.fn, stage))

    trainer = trainer_with(tmp_path, ends, Looks(), logger=journal, limit_val_batches=1)
    assert trainer.state.status == "initializing"
    getattr(trainer, stage)(Net(), rows(1), *([rows(1)] if stage == "fit" else []))
    assert states == [("running", stage, stage)]
    assert (trainer.state.status, trainer.state.stage, trainer.state.fn) == ("finished", None, stage)
    assert journal.endings == ["success"]
    assert ends.seen == [stage]


def test_hooks_are_set_up_in_order(tmp_path: Path) -> None:
    order: list[str] = []

    class Module(Net):
        def train_dataloader(self) -> Any:
            return rows(1)

    def noting(name: str) -> Any:
        def note(self: Module, *args: Any) -> Any:
            order.append(name)
            return getattr(super(Module, self), name)(*args) if name == "configure_optimizers" else None

        return note

    class Before(Callback):
        def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
            order.append("setup of a callback")

    names = ["prepare_data", "setup", "configure_model", "configure_optimizers", "on_fit_start", "on_train_start"]
    for name in names:
        setattr(Module, name, noting(name))
    trainer_with(tmp_path, Before(), limit_val_batches=0).fit(Module())
    assert order == ["prepare_data", "setup of a callback", *names[1:]]


def test_module_is_told_of_hyperparameters_and_graph_once_per_run(tmp_path: Path) -> None:
    class Hparams(Journal):
        def __init__(self) -> None:
            super().__init__()
            self.told: list[Any] = []

        def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
            self.told.append(dict(params))

        def log_graph(self, model: Any, input_array: Tensor | None = None) -> None:
            self.told.append("graph")

    class Configured(Net):
        def __init__(self, width: int = 3) -> None:
            super().__init__()
            self.save_hyperparameters()

    told = Hparams()
    fit(tmp_path, Configured(), logger=told)
    assert told.told == [{"width": 3}, "graph"]
    off = Hparams()
    fit(tmp_path, Configured(), logger=off, enable_autolog_hparams=False)
    assert off.told == []


def test_gradients_from_before_are_cleared(tmp_path: Path) -> None:
    class Looks(Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            assert pl_module.layer.weight.grad is None

    net = Net()
    net.loss(torch.ones(1, 3)).backward()
    fit(tmp_path, net, Looks())
