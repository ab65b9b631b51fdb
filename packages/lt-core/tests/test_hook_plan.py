from pathlib import Path
from typing import Any

import pytest
from tiny_runs import Net, fit, rows

from lt_core import LightningModule, Trainer
from lt_core.hook_plan import HookPlan, check_hook_names, overrides, takes_argument
from lt_core.logging.recorder import Recorder
from lt_interfaces import not_a_hook
from lt_interfaces.callback import Callback
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.hooks import HOOKS, RETIRED, Hearer, Kind
from lt_interfaces.roles import Role


class Teller(Callback):
    """Notes which hooks it heard, by its own name."""

    def __init__(self, name: str, heard: list[str]) -> None:
        self.name = name
        self.heard = heard

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self.heard.append(self.name)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> Any:
        self.heard.append(self.name)
        return -1

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.heard.append(self.name)


class Saver(Teller):
    role = Role.CHECKPOINT


class Stopper(Teller):
    role = Role.STOP


class Module(LightningModule):
    def __init__(self, heard: list[str]) -> None:
        super().__init__()
        self.heard = heard

    def setup(self, stage: str) -> None:
        self.heard.append("module")

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int:
        self.heard.append("module")
        return 7

    def on_train_epoch_end(self) -> None:
        self.heard.append("module")


class Data:
    """A datamodule of somebody else's."""

    def __init__(self, heard: list[str]) -> None:
        self.heard = heard

    def setup(self, stage: str) -> None:
        self.heard.append("data")


def plan_of(*callbacks: Any, module: Any = None, datamodule: Any = None) -> HookPlan:
    plan = HookPlan(Recorder())
    plan.resolve(None, callbacks, module=module or LightningModule(), datamodule=datamodule)
    return plan


@pytest.mark.parametrize(
    ("hook", "args", "order"),
    [
        ("setup", ("fit",), ["data", "first", "stop", "save", "module"]),
        ("on_train_batch_start", ("batch", 0), ["first", "stop", "save", "module"]),
        ("on_train_epoch_end", (), ["first", "module", "stop", "save"]),
    ],
)
def test_everybody_hears_in_the_order_of_the_table(hook: str, args: tuple[Any, ...], order: list[str]) -> None:
    heard: list[str] = []
    callbacks = [Teller("first", heard), Stopper("stop", heard), Saver("save", heard)]
    plan_of(*callbacks, module=Module(heard), datamodule=Data(heard)).notify(hook, *args)
    assert heard == order


def test_only_the_modules_answer_counts() -> None:
    heard: list[str] = []
    assert plan_of(Teller("callback", heard), module=Module(heard)).notify("on_train_batch_start", "batch", 0) == 7
    assert plan_of(Teller("callback", heard)).notify("on_train_batch_start", "batch", 0) is None


def test_callbacks_get_trainer_and_module_first() -> None:
    class Curious(Callback):
        def on_before_zero_grad(self, *args: Any) -> None:
            self.args = args

    callback, module, plan = Curious(), LightningModule(), HookPlan(Recorder())
    plan.resolve("trainer", [callback], module=module, datamodule=None)
    plan.notify("on_before_zero_grad", "optimizer")
    assert callback.args == ("trainer", module, "optimizer")


def test_a_hook_that_nobody_overrides_is_not_heard() -> None:
    plan = plan_of(Callback())
    heard = [hook.name for hook in HOOKS if hook.kind is Kind.EVENT and plan.hearers[hook.name]]
    assert heard == ["on_validation_model_zero_grad"]


def test_the_clock_shows_the_hook_while_it_runs_and_after_a_failure_too() -> None:
    recorder = Recorder()
    recorder.hook = "training_step"
    seen: list[str | None] = []

    class Fails(Callback):
        def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
            seen.append(recorder.hook)
            raise KeyError(loss)

    plan = HookPlan(recorder)
    plan.resolve(None, [Fails()], module=LightningModule(), datamodule=None)
    with pytest.raises(KeyError):
        plan.notify("on_before_backward", "loss")
    assert seen == ["on_before_backward"]
    assert recorder.hook == "training_step"


def test_changing_the_callbacks_during_a_run_changes_who_hears(tmp_path: Path) -> None:
    class Successor(Callback):
        num_batches = 0

        def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
            self.num_batches += 1

    class Leaves(Callback):
        def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
            trainer.callbacks = [successor]

    successor = Successor()
    fit(tmp_path, Net(), Leaves(), data=rows(4))
    assert successor.num_batches == 3


# --- who overrides ---


def test_defaults_of_the_base_classes_are_no_overrides() -> None:
    for hook in HOOKS:
        if Hearer.MODULE in hook.heard_by:
            assert not overrides(LightningModule(), hook.name), hook.name
        if Hearer.CALLBACK in hook.heard_by:
            assert not overrides(Callback(), hook.name), hook.name


def test_methods_of_classes_bases_and_instances_are_overrides() -> None:
    class Base(LightningModule):
        def training_step(self, batch: Any) -> None: ...

    class Derived(Base):
        pass

    module: Any = Derived()
    assert overrides(module, "training_step")
    assert not overrides(module, "validation_step")
    module.validation_step = lambda batch: None
    assert overrides(module, "validation_step")


def test_a_method_set_to_none_is_switched_off() -> None:
    class Off(Net):
        test_step = None  # type: ignore[assignment]  # as users switch a step off

    module: Any = Off()
    assert not overrides(module, "test_step")
    module.validation_step = None
    assert not overrides(module, "validation_step")


# --- misspelt and retired hooks ---


def class_with(name: str, base: type = Callback) -> Any:
    return type("Mine", (base,), {name: lambda self, *args: None})()


@pytest.mark.parametrize(
    ("misspelt", "right"),
    [
        ("on_trian_start", "on_train_start"),
        ("on_train_epoch_stop", None),
        ("on_train_batch_ends", "on_train_batch_end"),
        ("on_validation_epoch_edn", "on_validation_epoch_end"),
        ("on_before_optimiser_step", "on_before_optimizer_step"),
        ("on_trian_strat", "on_train_start"),
        ("on_fit_begin", None),
        ("on_my_own_occasion", None),
    ],
)
def test_a_misspelt_hook_is_refused_with_the_right_name(misspelt: str, right: str | None) -> None:
    for base, hearer in ((Callback, Hearer.CALLBACK), (LightningModule, Hearer.MODULE)):
        owner = class_with(misspelt, base)
        if right is None:
            check_hook_names(owner, hearer)
            continue
        with pytest.raises(MisconfigurationException, match=rf"`Mine\.{misspelt}` .* Did you mean `{right}`\?"):
            check_hook_names(owner, hearer)


def test_a_method_of_ones_own_may_be_called_almost_like_a_hook() -> None:
    class Own(Callback):
        @not_a_hook
        def on_train_stat(self) -> None: ...

    class Inherits(Own):
        pass

    check_hook_names(Own(), Hearer.CALLBACK)
    check_hook_names(Inherits(), Hearer.CALLBACK)


def test_hooks_inherited_from_a_users_base_are_checked_too() -> None:
    class Base(Callback):
        def on_train_strat(self) -> None: ...

    class Derived(Base):
        pass

    with pytest.raises(MisconfigurationException, match="on_train_start"):
        check_hook_names(Derived(), Hearer.CALLBACK)


@pytest.mark.parametrize("retired", sorted(RETIRED))
def test_a_retired_hook_is_refused_with_what_replaces_it(retired: str) -> None:
    with pytest.raises(NotImplementedError, match=f"Use `{RETIRED[retired]}` instead"):
        check_hook_names(class_with(retired, LightningModule), Hearer.MODULE)


@pytest.mark.parametrize("name", ["on_epoch_end", "on_train_epoch_ends"])
def test_a_method_that_the_class_calls_itself_is_its_own_whatever_it_is_called(name: str) -> None:
    calling = {"on_train_epoch_end": lambda self: [self.on_epoch_end(k) or self.on_train_epoch_ends(k) for k in (1, 2)]}
    check_hook_names(class_with(name, type("Base", (LightningModule,), calling)), Hearer.MODULE)
    with pytest.raises((NotImplementedError, MisconfigurationException), match=name):
        check_hook_names(class_with(name, LightningModule), Hearer.MODULE)


def test_a_retired_name_that_is_no_method_is_left_alone() -> None:
    class Named(LightningModule):
        training_epoch_end = None

    check_hook_names(Named(), Hearer.MODULE)


def test_the_run_refuses_before_anything_is_set_up(tmp_path: Path) -> None:
    class Misspelt(Net):
        def on_trian_start(self) -> None: ...

        def setup(self, stage: str) -> None:
            pytest.fail("set up")

    with pytest.raises(MisconfigurationException, match="on_train_start"):
        fit(tmp_path, Misspelt())


def test_arguments_are_found_by_name_or_place() -> None:
    def one(batch: Any) -> None: ...
    def two(batch: Any, number: int) -> None: ...
    def by_name(batch: Any, *, batch_idx: int) -> None: ...
    def any_number(*args: Any) -> None: ...

    functions = (one, two, by_name, any_number)
    assert [takes_argument(f, "batch_idx", 1) for f in functions] == [False, True, True, True]


# --- going on from a file that was saved within a hook ---


class Named(Saver):
    @property
    def state_key(self) -> str:
        return self.name


class Everyone(Teller):
    """Is no checkpoint callback."""


@pytest.mark.parametrize(
    ("saver", "left"), [("first", ["second", "third"]), ("third", []), (None, ["first", "second", "third"])]
)
def test_checkpoint_callbacks_after_the_saver_hear_the_hook_again(saver: str | None, left: list[str]) -> None:
    heard: list[str] = []
    plan = plan_of(*(Named(name, heard) for name in ("first", "second", "third")), Everyone("other", heard))
    plan.interrupted = ("on_train_epoch_end", saver)
    plan.catch_up("on_train_batch_end")
    assert heard == []
    plan.catch_up("on_train_epoch_end")
    assert heard == left


def test_hook_is_caught_up_on_once() -> None:
    heard: list[str] = []
    plan = plan_of(Named("first", heard))
    plan.interrupted = ("on_train_epoch_end", None)
    for _ in range(2):
        plan.catch_up("on_train_epoch_end")
    assert heard == ["first"]


def test_plan_knows_the_hook_and_the_checkpoint_callback_that_hears_it() -> None:
    moments: list[Any] = []

    class Asks(Named):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            moments.append(plan.moment)

    class AsksToo(Everyone):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            moments.append(plan.moment)

    plan = plan_of(AsksToo("other", []), Asks("first", []))
    plan.notify("on_train_epoch_end")
    assert moments == [("on_train_epoch_end", None), ("on_train_epoch_end", "first")]
    assert plan.moment == (None, None)


def test_run_killed_between_two_checkpoint_callbacks_loses_no_file(tmp_path: Path) -> None:
    from lt_callbacks import ModelCheckpoint  # a sibling that lt-core's users have, but lt-core doesn't need

    class SavesFirst(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if trainer.global_step == 2:
                trainer.save_checkpoint(tmp_path / "from_here.ckpt")

    def keeper(folder: str) -> ModelCheckpoint:
        return ModelCheckpoint(tmp_path / folder, every_n_train_steps=2, save_top_k=-1)

    fit(tmp_path, Net(), SavesFirst(), keeper("all"), enable_checkpointing=True)
    fit(tmp_path, Net(), keeper("resumed"), ckpt_path=tmp_path / "from_here.ckpt", enable_checkpointing=True)
    names = [sorted(path.name for path in (tmp_path / folder).iterdir()) for folder in ("all", "resumed")]
    assert names[0] == names[1] == ["epoch=0-step=2.ckpt", "epoch=0-step=4.ckpt"]


@pytest.mark.parametrize("at_epoch_end", [True, False], ids=["on_train_epoch_end", "on_validation_end"])
def test_epoch_killed_between_two_checkpoint_callbacks_loses_no_file(at_epoch_end: bool, tmp_path: Path) -> None:
    from lt_callbacks import ModelCheckpoint  # a sibling that lt-core's users have, but lt-core doesn't need

    def keeper(folder: str) -> ModelCheckpoint:
        return ModelCheckpoint(tmp_path / folder, save_top_k=-1, save_on_train_epoch_end=at_epoch_end)

    class First(ModelCheckpoint):
        """Is heard before the other one, whose books its file therefore holds as they were before."""

    first = First(tmp_path / "first", save_top_k=-1, save_on_train_epoch_end=at_epoch_end)
    run = {"enable_checkpointing": True, "max_epochs": 2, "val_dataloaders": rows(1), "num_sanity_val_steps": 0}
    fit(tmp_path, Net(), first, keeper("all"), **run)
    resumed = [
        First(tmp_path / "first_resumed", save_top_k=-1, save_on_train_epoch_end=at_epoch_end),
        keeper("resumed"),
    ]
    fit(tmp_path, Net(), *resumed, ckpt_path=tmp_path / "first" / "epoch=0-step=4.ckpt", strict=False, **run)
    names = [sorted(path.name for path in (tmp_path / folder).iterdir()) for folder in ("all", "resumed")]
    assert names[0] == names[1] == ["epoch=0-step=4.ckpt", "epoch=1-step=8.ckpt"]
