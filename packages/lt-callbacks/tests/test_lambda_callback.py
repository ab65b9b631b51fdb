from collections.abc import Callable
from inspect import signature
from typing import Any

import pytest

from lt_callbacks import LambdaCallback
from lt_interfaces.hooks import Hearer, heard_by

NewRun = Callable[..., Any]  # the stand-in run of conftest.py, which tests can't import


def test_a_function_is_called_with_what_the_hook_gets(new_run: NewRun) -> None:
    heard: list[tuple[Any, ...]] = []
    run = new_run(LambdaCallback(on_train_batch_start=lambda *args: heard.append(args), on_fit_start=None))
    run.fit(batches=2)
    assert heard == [(run, run.module, None, 0), (run, run.module, None, 1)]


def test_there_is_a_keyword_for_every_hook_of_callbacks_and_none_for_state() -> None:
    keywords = list(signature(LambdaCallback).parameters)
    assert keywords == [hook.name for hook in heard_by(Hearer.CALLBACK)]
    assert not {"state_dict", "load_state_dict"} & set(keywords)


def test_a_keyword_that_is_no_hook_is_refused_with_the_right_name() -> None:
    with pytest.raises(TypeError, match=r"which is no hook.* `on_train_start`"):
        LambdaCallback(on_trian_start=print)


def test_a_value_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match="must be a function"):
        LambdaCallback(on_train_start=1)
