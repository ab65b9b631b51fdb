import re
from collections import Counter
from inspect import Parameter, signature

import pytest

from lt_interfaces.callback import Callback
from lt_interfaces.hooks import (
    BY_NAME,
    EPOCH_LOG,
    EVALUATION_LOG,
    HOOKS,
    RETIRED,
    STEP_LOG,
    Hearer,
    Hook,
    Kind,
    heard_by,
    not_a_hook,
)
from lt_interfaces.spelling import edit_distance

each_hook = pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.name)


def place(name: str) -> int:
    return list(BY_NAME).index(name)


def test_no_hook_is_listed_twice() -> None:
    assert [name for name, count in Counter(hook.name for hook in HOOKS).items() if count > 1] == []
    assert list(BY_NAME.values()) == list(HOOKS)


@each_hook
def test_arguments_make_a_signature(hook: Hook) -> None:
    namespace: dict[str, object] = {}
    exec(f"def hook(self, {', '.join(hook.arguments)}): ...", namespace)
    parameters = signature(namespace["hook"]).parameters  # type: ignore[arg-type]  # the function made above
    defaults = [one.default for one in parameters.values() if one.default is not Parameter.empty]
    assert all(default in (0, None) for default in defaults)


@each_hook
def test_every_hook_has_different_hearers(hook: Hook) -> None:
    assert hook.heard_by
    assert len(set(hook.heard_by)) == len(hook.heard_by)


@each_hook
def test_monitors_are_listed_apart_only_where_other_callbacks_hear_it_too(hook: Hook) -> None:
    if Hearer.MONITOR in hook.heard_by:
        assert hook.heard_by.index(Hearer.CALLBACK) < hook.heard_by.index(Hearer.MONITOR)


@each_hook
def test_only_events_have_callbacks_for_hearers(hook: Hook) -> None:
    assert hook.kind is Kind.EVENT or Hearer.CALLBACK not in hook.heard_by


@each_hook
def test_logging_rules_follow_the_moment(hook: Hook) -> None:
    if hook.log is None:
        return
    assert hook.log in (STEP_LOG, EVALUATION_LOG, EPOCH_LOG)
    assert hook.log.on_step or hook.log.on_epoch
    assert hook.log.fixed == (re.search(r"_(start|end)$", hook.name) is not None and "_batch_" not in hook.name)


@each_hook
def test_nothing_is_logged_while_predicting_or_setting_up(hook: Hook) -> None:
    if "predict" in hook.name or hook.kind in (Kind.SETTING, Kind.TRANSFER):
        assert hook.log is None


@pytest.mark.parametrize("name", RETIRED)
def test_a_retired_hook_is_replaced_by_one_there_is(name: str) -> None:
    assert name not in BY_NAME
    replacement = RETIRED[name]
    assert replacement in BY_NAME or hasattr(Callback, replacement)
    assert replacement not in RETIRED


def test_no_hook_looks_like_a_misspelling_of_another() -> None:
    names = sorted(name for name in BY_NAME if name.startswith("on_"))
    close = [(a, b) for a in names for b in names if a < b and edit_distance(a, b) == 1]
    assert close == []


@pytest.mark.parametrize("hearer", list(Hearer))
def test_rows_of_a_hearer_come_in_loop_order(hearer: Hearer) -> None:
    rows = heard_by(hearer)
    assert rows
    assert [HOOKS.index(hook) for hook in rows] == sorted(HOOKS.index(hook) for hook in rows)
    assert all((hearer in hook.heard_by) == (hook in rows) for hook in HOOKS)


@pytest.mark.parametrize("stage", ["fit", "sanity_check", "train", "train_epoch", "train_batch", "validation", "test"])
def test_a_moment_starts_before_it_ends(stage: str) -> None:
    assert place(f"on_{stage}_start") < place(f"on_{stage}_end")


def test_a_batch_is_moved_trained_on_and_told_of_in_this_order() -> None:
    order = [
        "on_train_epoch_start",
        "on_before_batch_transfer",
        "transfer_batch_to_device",
        "on_after_batch_transfer",
        "on_train_batch_start",
        "training_step",
        "on_before_zero_grad",
        "on_before_backward",
        "backward",
        "on_after_backward",
        "on_before_optimizer_step",
        "configure_gradient_clipping",
        "on_train_batch_end",
        "on_train_epoch_end",
    ]
    assert sorted(order, key=place) == order


def test_a_mark_opts_out_and_leaves_the_function_as_it_is() -> None:
    def on_train_stat() -> str:
        return "mine"

    marked = not_a_hook(on_train_stat)
    assert marked is on_train_stat
    assert marked() == "mine"
    assert vars(marked)["__not_a_hook__"] is True
    assert not hasattr(lambda: None, "__not_a_hook__")
