"""From hooks to a display: what all bars over batches have in common."""

from abc import abstractmethod
from typing import Any

from lt_callbacks.progress_bar import ProgressBar
from lt_callbacks.progress_display import Bar, ProgressDisplay
from lt_callbacks.refresh_pace import RefreshPace
from lt_callbacks.run import Run
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.states import RunningStage, TrainerFn


class BatchProgressBar(ProgressBar):
    """Base of bars that show one bar per training epoch and one per evaluated loader on a `ProgressDisplay`.

    A batch costs a comparison or two and a look at the clock. Metrics, which have to be fetched from the device, are
    read only when the training bar is really drawn.

    Args:
        refresh_rate: batches between two refreshes, within the limits of time that the display sets; 0: no bar.
        leave: keep the bar of each epoch rather than only the last one's.
    """

    def __init__(self, refresh_rate: int = 1, leave: bool = False) -> None:
        super().__init__()
        if not isinstance(refresh_rate, int) or isinstance(refresh_rate, bool) or refresh_rate < 0:
            message = f"`refresh_rate` must be a whole number of batches >= 0 (0: no bar), not {refresh_rate!r}."
            raise MisconfigurationException(message)
        self.refresh_rate = refresh_rate
        self.leave = leave
        self._display: ProgressDisplay | None = None
        self._pace = {bar: RefreshPace(refresh_rate) for bar in Bar}
        self._done: dict[Bar, int] = {}

    @abstractmethod
    def make_display(self, trainer: Run) -> ProgressDisplay:
        """Return what draws the bars; called on rank 0 when an entry point starts."""

    def epoch_description(self, trainer: Run) -> str:
        """Return what stands before the bar of the current epoch."""
        return f"Epoch {trainer.current_epoch}"

    @property
    def is_enabled(self) -> bool:
        return self._is_enabled and self.refresh_rate > 0

    @is_enabled.setter
    def is_enabled(self, enabled: bool) -> None:
        self._is_enabled = enabled

    def print(self, *args: Any, **kwargs: Any) -> None:
        if self._display is None:
            super().print(*args, **kwargs)
        else:
            self._display.print(*args, **kwargs)

    def setup(self, trainer: Run, pl_module: Any, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        self._done = {}
        self.reset_dataloader_idx_tracker()
        self._display = display = self.make_display(trainer) if self.is_enabled else None
        if display is not None:
            self._pace = {bar: display.pace(self.refresh_rate) for bar in Bar}

    def teardown(self, trainer: Run, pl_module: Any, stage: str) -> None:
        if self._display is not None:
            self._display.stop()
            self._display = None

    def on_exception(self, trainer: Run, pl_module: Any, exception: BaseException) -> None:
        self.teardown(trainer, pl_module, "")

    # --- training ---

    def on_train_epoch_start(self, trainer: Run, pl_module: Any) -> None:
        self._close(Bar.TRAINING, keep=self.leave)
        self._open(Bar.TRAINING, self.epoch_description(trainer), self.total_train_batches)

    def on_train_batch_end(self, trainer: Run, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self._display is None:
            return
        self._done[Bar.TRAINING] = done = batch_idx + 1
        if self._pace[Bar.TRAINING].is_due(done):
            self._draw_training(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Run, pl_module: Any) -> None:
        self._draw_training(trainer, pl_module)

    def on_train_end(self, trainer: Run, pl_module: Any) -> None:
        self._close(Bar.TRAINING, keep=True)

    # --- evaluation: three stages that look alike ---

    def on_validation_batch_start(
        self, trainer: Run, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if self._display is None or not self.has_dataloader_changed(dataloader_idx):
            return
        self._close(Bar.EVALUATION, keep=trainer.state.fn is not TrainerFn.FITTING)
        stage, total = self._evaluated()
        self._open(Bar.EVALUATION, f"{stage} DataLoader {dataloader_idx}", total)

    def on_validation_batch_end(
        self, trainer: Run, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if self._display is None:
            return
        self._done[Bar.EVALUATION] = done = batch_idx + 1
        if self._pace[Bar.EVALUATION].is_due(done):
            self._display.refresh(Bar.EVALUATION, done, {})

    def on_validation_end(self, trainer: Run, pl_module: Any) -> None:
        self._close(Bar.EVALUATION, keep=trainer.state.fn is not TrainerFn.FITTING)
        self.reset_dataloader_idx_tracker()
        self._draw_training(trainer, pl_module)

    on_test_batch_start = on_validation_batch_start
    on_test_batch_end = on_validation_batch_end
    on_test_end = on_validation_end
    on_predict_batch_start = on_validation_batch_start
    on_predict_batch_end = on_validation_batch_end
    on_predict_end = on_validation_end

    def _evaluated(self) -> tuple[str, int | float]:
        """Return what the evaluation that goes on is called, and the batches of its loader."""
        match self.trainer.state.stage:
            case RunningStage.SANITY_CHECKING:
                return self.sanity_check_description, self.total_val_batches_current_dataloader
            case RunningStage.TESTING:
                return self.test_description, self.total_test_batches_current_dataloader
            case RunningStage.PREDICTING:
                return self.predict_description, self.total_predict_batches_current_dataloader
        return self.validation_description, self.total_val_batches_current_dataloader

    def _open(self, bar: Bar, description: str, total: float) -> None:
        if self._display is not None:
            self._display.open(bar, description, total)
            self._done[bar] = 0
            self._pace[bar].restart()

    def _close(self, bar: Bar, *, keep: bool) -> None:
        if self._display is not None and bar in self._done:
            if bar is Bar.EVALUATION and keep:
                self._display.refresh(bar, self._done[bar], {})
            self._display.close(bar, keep=keep)
            del self._done[bar]

    def _draw_training(self, trainer: Run, pl_module: Any) -> None:
        if self._display is not None and Bar.TRAINING in self._done:
            self._display.refresh(Bar.TRAINING, self._done[Bar.TRAINING], self.get_metrics(trainer, pl_module))
