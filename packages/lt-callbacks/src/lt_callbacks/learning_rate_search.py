"""How the loss answers to a growing learning rate, and which rate that suggests."""

import math
from collections.abc import Iterator
from typing import Any, Final

import torch

from lt_interfaces.errors import MisconfigurationException, missing_package
from lt_interfaces.rank_zero import rank_zero_warn
from lt_interfaces.spelling import did_you_mean

MODES: Final = ("exponential", "linear")
_SMOOTHING: Final = 0.98  # how much of the mean each further loss leaves


class LearningRateSearch:
    """The losses of a few optimizer steps, each taken with a larger learning rate.

    The losses are exponential moving means (0.98 of the mean stays with each step), as in
    [Cyclical learning rates](https://arxiv.org/abs/1506.01186) and its followers.

    Args:
        mode: rates grow by a factor ("exponential") or by a difference ("linear").
        lr_min: the first rate.
        lr_max: the last rate.
        num_training: how many steps.

    Raises:
        MisconfigurationException: for another mode, rates that don't grow, or no step.

    >>> search = LearningRateSearch("linear", lr_min=0.1, lr_max=0.5, num_training=4)
    >>> for rate, loss in zip(search.rates(), [8.0, 2.0, 1.0, 9.0]):
    ...     search.add(rate, loss)
    >>> search.suggestion(skip_begin=0)
    0.4
    """

    def __init__(self, mode: str, lr_min: float, lr_max: float, num_training: int) -> None:
        _check_mode(mode)
        _check_range(mode, lr_min, lr_max)
        if not isinstance(num_training, int) or isinstance(num_training, bool) or num_training < 1:
            message = f"The number of training steps must be a whole number >= 1, not {num_training!r}."
            raise MisconfigurationException(message)
        self.mode: Final = mode
        self.lr_min: Final = lr_min
        self.lr_max: Final = lr_max
        self.num_training: Final = num_training
        self.results: dict[str, list[float]] = {"lr": [], "loss": []}
        """The rate of each step, and the smoothed loss that it was taken on."""
        self._mean = 0.0

    def rates(self) -> Iterator[float]:
        """Return the learning rates, one per step."""
        # The second step is two intervals up, as in Lightning, so that both try the same rates.
        for interval in (0, *range(2, self.num_training + 1)):
            part = interval / self.num_training
            if self.mode == "linear":
                yield self.lr_min + part * (self.lr_max - self.lr_min)
            else:
                yield float(self.lr_min * (self.lr_max / self.lr_min) ** part)

    def add(self, rate: float, loss: float) -> None:
        """Note the loss of a step.

        Args:
            rate: what the step was taken with.
            loss: as the training step gave it, which is before the step changed anything.
        """
        self._mean = _SMOOTHING * self._mean + (1 - _SMOOTHING) * loss
        self.results["lr"].append(rate)
        # One step more than there were: Lightning's correction, for the same numbers.
        self.results["loss"].append(self._mean / (1 - _SMOOTHING ** (len(self.results["lr"]) + 1)))

    def has_diverged(self, threshold: float) -> bool:
        """Say whether the loss has risen to that many times its lowest, or is no number any more.

        A loss below 0 may rise by as much as one above it.
        """
        losses = self.results["loss"]
        lowest = min(losses)
        return len(losses) > 1 and not losses[-1] <= lowest + (threshold - 1) * abs(lowest)

    def suggestion(self, skip_begin: int = 10, skip_end: int = 1) -> float | None:
        """Return the rate at which the loss falls most steeply; ``None``, with a warning, with less than two points.

        Args:
            skip_begin: leave out so many of the first steps, whose mean is of few losses.
            skip_end: leave out so many of the last.
        """
        rates, losses = self.results["lr"], self.results["loss"]
        chosen = slice(skip_begin, max(len(losses) - skip_end, 0))
        points = [(rate, loss) for rate, loss in zip(rates[chosen], losses[chosen], strict=True) if math.isfinite(loss)]
        if len(points) < 2:
            rank_zero_warn(
                f"No learning rate can be suggested: of {len(losses)} steps, {skip_begin} at the beginning and"
                f" {skip_end} at the end are left out, and the rest has less than two finite losses. Take more steps,"
                " or search among smaller rates."
            )
            return None
        x, y = torch.tensor(points, dtype=torch.float64).T
        (slopes,) = torch.gradient(y, spacing=(x,))
        return points[int(slopes.argmin())][0]

    def plot(self, suggest: bool = False, show: bool = False, ax: Any = None) -> Any:
        """Draw the loss over the learning rate; returns the figure.

        Args:
            suggest: mark the suggested rate.
            show: open a window, or show it in the notebook.
            ax: matplotlib's axes to draw on; by default those of a new figure.

        Raises:
            MissingPackageError: matplotlib isn't installed.
        """
        try:
            import matplotlib.pyplot as plt  # an extra, and heavy
        except ImportError as error:
            missing = missing_package("matplotlib", "`LearningRateSearch.plot`", "lt-callbacks[plot]")
            raise missing from error
        if ax is None:
            _, ax = plt.subplots()
        ax.plot(self.results["lr"], self.results["loss"])
        if self.mode == "exponential":
            ax.set_xscale("log")
        ax.set_xlabel("learning rate")
        ax.set_ylabel("loss (smoothed)")
        rate = self.suggestion() if suggest else None
        if rate is not None:
            loss = self.results["loss"][self.results["lr"].index(rate)]
            ax.plot(rate, loss, marker="o", color="red", markersize=8)
        if show:
            plt.show()
        return ax.figure


def _check_mode(mode: str) -> None:
    if mode not in MODES:
        message = f"`mode` must be 'exponential' or 'linear', not {mode!r}.{did_you_mean(str(mode), MODES)}"
        raise MisconfigurationException(message)


def _check_range(mode: str, lowest: float, highest: float) -> None:
    if not lowest < highest or lowest < 0 or (mode == "exponential" and lowest == 0):
        least = "above 0" if mode == "exponential" else "0 or more"
        message = f"`min_lr` must be {least} and below `max_lr`, not {lowest!r} with `max_lr={highest!r}`."
        raise MisconfigurationException(message)
