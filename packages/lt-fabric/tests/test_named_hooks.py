from typing import Any

import pytest

from lt_fabric.named_hooks import call_hook


class Listener:
    def __init__(self) -> None:
        self.heard: list[Any] = []

    def on_epoch(self, epoch: int, *, loss: float = 0.0) -> None:
        self.heard.append((epoch, loss))

    def on_anything(self, **kwargs: Any) -> None:
        self.heard.append(kwargs)


def test_everybody_who_has_the_hook_hears_it_in_order() -> None:
    first, second = Listener(), Listener()
    second.heard = first.heard
    call_hook([first, object(), second], "on_epoch", 3)
    assert first.heard == [(3, 0.0), (3, 0.0)]


def test_arguments_that_a_hook_does_not_take_are_left_out() -> None:
    listener = Listener()
    call_hook([listener], "on_epoch", epoch=3, loss=0.5, model="m")
    call_hook([listener], "on_anything", epoch=3)
    assert listener.heard == [(3, 0.5), {"epoch": 3}]


def test_what_is_no_method_is_skipped_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="`heard` of Listener isn't a method"):
        call_hook([Listener()], "heard")
