"""The progress bar that tqdm draws."""

import os
import sys
from importlib.util import find_spec
from typing import Any

from lt_callbacks.batch_progress_bar import BatchProgressBar
from lt_callbacks.progress_display import Bar, LineDisplay, ProgressDisplay
from lt_callbacks.run import Run
from lt_interfaces.errors import missing_package
from lt_interfaces.states import RunningStage

_RATE_IN_COLAB = 20


class TQDMProgressBar(BatchProgressBar):
    """A bar per epoch and per evaluated loader, drawn by tqdm; in output that isn't a terminal, plain lines.

    Needs ``pip install lt-callbacks[tqdm]``. The environment's ``TQDM_MINITERS`` raises ``refresh_rate``. To draw with
    bars of your own, override `init_train_tqdm` and the four methods like it; what stands before a bar and its number
    of batches are set afterwards.

    Args:
        refresh_rate: batches between two refreshes, at most ten refreshes and at least one per second; 0: no bar.
        process_position: lines to leave free above the bar, for several processes in one terminal.
        leave: keep the bar of each epoch rather than only the last one's.

    Raises:
        MissingPackageError: when tqdm isn't installed.

    >>> TQDMProgressBar(refresh_rate=10).is_enabled
    True
    """

    def __init__(self, refresh_rate: int = 1, process_position: int = 0, leave: bool = False) -> None:
        if find_spec("tqdm") is None:
            error = missing_package("tqdm", "`TQDMProgressBar`", "lt-callbacks[tqdm]")
            raise error
        super().__init__(rate_in_environment(refresh_rate), leave)
        self.process_position = process_position

    def make_display(self, trainer: Run) -> ProgressDisplay:
        # Deferred: tqdm is optional, and who uses another bar shouldn't load it.
        from lt_callbacks.tqdm_display import TqdmDisplay, draws_bars

        return TqdmDisplay(self._new_bar) if draws_bars(sys.stdout) else LineDisplay(sys.stdout)

    def init_sanity_tqdm(self) -> Any:
        """Return the `tqdm.tqdm` for the sanity check; called in a terminal or a notebook when its bar is opened."""
        return self._drawn(self.sanity_check_description, Bar.EVALUATION)

    def init_train_tqdm(self) -> Any:
        """Return the one for a training epoch."""
        return self._drawn(self.train_description, Bar.TRAINING)

    def init_validation_tqdm(self) -> Any:
        """Return the one for a validated loader."""
        return self._drawn(self.validation_description, Bar.EVALUATION)

    def init_test_tqdm(self) -> Any:
        """Return the one for a tested loader."""
        return self._drawn(self.test_description, Bar.EVALUATION)

    def init_predict_tqdm(self) -> Any:
        """Return the one for a loader that's predicted."""
        return self._drawn(self.predict_description, Bar.EVALUATION)

    @property
    def train_progress_bar(self) -> Any:
        """The `tqdm.tqdm` of the training epoch; where none is open, or plain lines are written, one that's silent."""
        return self._open_bar(Bar.TRAINING)

    @property
    def val_progress_bar(self) -> Any:
        """The one of the loader that's validated."""
        return self._open_bar(Bar.EVALUATION)

    @property
    def test_progress_bar(self) -> Any:
        """The one of the loader that's tested."""
        return self._open_bar(Bar.EVALUATION)

    @property
    def predict_progress_bar(self) -> Any:
        """The one of the loader that's predicted."""
        return self._open_bar(Bar.EVALUATION)

    def _open_bar(self, bar: Bar) -> Any:
        # Deferred: see `make_display`.
        from lt_callbacks.tqdm_display import TqdmDisplay, silent_bar

        return self._display.drawn(bar) if isinstance(self._display, TqdmDisplay) else silent_bar()

    def _new_bar(self, bar: Bar) -> Any:
        if bar is Bar.TRAINING:
            return self.init_train_tqdm()
        match self.trainer.state.stage:
            case RunningStage.SANITY_CHECKING:
                return self.init_sanity_tqdm()
            case RunningStage.TESTING:
                return self.init_test_tqdm()
            case RunningStage.PREDICTING:
                return self.init_predict_tqdm()
        return self.init_validation_tqdm()

    def _drawn(self, description: str, bar: Bar) -> Any:
        # Deferred: see `make_display`.
        from lt_callbacks.tqdm_display import new_bar

        return new_bar(description, self.process_position + bar.value)


def rate_in_environment(refresh_rate: int) -> int:
    """Return the rate, made slower where the environment asks for it; 0 stays 0."""
    if "COLAB_GPU" in os.environ and refresh_rate == 1:
        # A notebook far away draws slowly: each refresh is sent over the network.
        refresh_rate = _RATE_IN_COLAB
    least = os.environ.get("TQDM_MINITERS", "")
    return max(refresh_rate, int(least)) if refresh_rate > 0 and least.isdecimal() else refresh_rate
