import builtins
import math
import sys
from collections.abc import Iterable
from typing import Any

import pytest

from lt_callbacks.learning_rate_search import LearningRateSearch
from lt_interfaces.errors import MisconfigurationException, MissingPackageError

# What Lightning 2.6.6 came to with twenty steps on a small model; the losses are those that its module returned.
RAW = [1.3307101726531982, 2.4812393188476562, 6.656559944152832, 5.565982341766357, 3.0138213634490967]
SMOOTHED = [0.6720758447743418, 1.2873538593551177, 2.6706023009218023, 3.273309222796976, 3.2278478928722962]
EXPONENTIAL = [1e-08, 6.309573444801934e-08, 1.5848931924611133e-07, 3.9810717055349735e-07, 1e-06]
LINEAR = [1e-08, 0.100000009, 0.15000000849999998, 0.200000008, 0.2500000075]
# And what it suggested for a given course of losses, with the rates 10^(-3 + 3 * i / 10).
COURSE = [5, 5, 4.9, 4.5, 3, 2, 1.5, 1.4, 1.6, 9]
RATES = [10 ** (-3 + 3 * step / 10) for step in range(10)]


def search_with(losses: Iterable[float], rates: Iterable[float] = RATES) -> LearningRateSearch:
    search = LearningRateSearch("exponential", 1e-3, 1, 10)
    search.results = {"lr": list(rates), "loss": list(losses)}
    return search


@pytest.mark.parametrize(("mode", "observed"), [("exponential", EXPONENTIAL), ("linear", LINEAR)])
def test_rates_are_those_that_lightning_tries(mode: str, observed: list[float]) -> None:
    rates = list(LearningRateSearch(mode, lr_min=1e-8, lr_max=1, num_training=20).rates())
    assert rates[:5] == observed
    assert len(rates) == 20
    assert rates[-1] == 1.0


def test_a_search_of_one_step_tries_the_first_rate() -> None:
    assert list(LearningRateSearch("linear", 0.1, 1, 1).rates()) == [0.1]


def test_losses_are_smoothed_as_lightning_does() -> None:
    search = LearningRateSearch("exponential", 1e-8, 1, 20)
    for rate, loss in zip(search.rates(), RAW, strict=False):
        search.add(rate, loss)
    assert search.results == {"lr": EXPONENTIAL, "loss": SMOOTHED}


@pytest.mark.parametrize(
    ("skipped", "index"),
    [((0, 1), 4), ((2, 2), 4), ((7, 1), 7), ((8, 1), None), ((10, 1), None)],
)
def test_suggestion_is_the_one_lightning_makes(skipped: tuple[int, int], index: int | None) -> None:
    search = search_with(COURSE)
    if index is None:
        with pytest.warns(UserWarning, match="less than two finite losses"):
            assert search.suggestion(*skipped) is None
    else:
        assert search.suggestion(*skipped) == RATES[index]


def test_losses_that_are_no_numbers_are_left_out() -> None:
    assert search_with([*COURSE[:8], math.inf, math.nan]).suggestion(skip_begin=0) == RATES[4]
    course = [math.nan, 5, 4.9, math.nan, 4.5, 3, 2, 1.5, 1.4, 1.6, 9]
    rates = [10 ** (-3 + 3 * step / 11) for step in range(11)]
    assert search_with(course, rates).suggestion(skip_begin=0) == rates[5]


def test_nothing_need_be_left_out_at_the_end() -> None:
    search = search_with([4.0, 3.9, 3.8, 1.0], RATES[:4])
    assert search.suggestion(skip_begin=0, skip_end=0) == RATES[3]


@pytest.mark.parametrize(
    ("losses", "diverged"),
    [([1.0], False), ([1.0, 3.9], False), ([1.0, 4.1], True), ([-5.0, -4.0], False), ([-5.0, 11.0], True)],
)
def test_a_loss_has_diverged_when_it_is_far_above_its_lowest(losses: list[float], diverged: bool) -> None:
    assert search_with(losses, RATES[: len(losses)]).has_diverged(4.0) is diverged


def test_a_loss_that_is_no_number_has_diverged() -> None:
    assert search_with([1.0, math.nan], RATES[:2]).has_diverged(4.0)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("exponentail", 0.1, 1, 3), "Did you mean `exponential`"),
        (("exponential", 0, 1, 3), "`min_lr` must be above 0"),
        (("linear", -0.1, 1, 3), "`min_lr` must be 0 or more"),
        (("linear", 1, 0.1, 3), "below `max_lr`"),
        (("linear", 0.1, 1, 0), "whole number >= 1, not 0"),
    ],
)
def test_wrong_arguments_are_named(arguments: Any, named: str) -> None:
    with pytest.raises(MisconfigurationException, match=named):
        LearningRateSearch(*arguments)


def test_plot_draws_the_losses_and_marks_the_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt  # after its backend is chosen

    shown: list[bool] = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(True))
    search = search_with([*COURSE, *COURSE], [10 ** (-3 + 3 * step / 20) for step in range(20)])
    figure = search.plot(suggest=True, show=True)
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    assert list(axes.lines[0].get_ydata()) == search.results["loss"]
    assert [axes.lines[1].get_xdata()[0]] == [search.suggestion()]
    assert shown == [True]
    _, own = plt.subplots()
    assert search.plot(ax=own) is own.figure
    assert len(own.lines) == 1
    plt.close("all")


def test_plot_without_matplotlib_gives_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return found(name, *args, **kwargs)

    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingPackageError, match=r"pip install lt-callbacks\[plot\]"):
        search_with(COURSE).plot()
