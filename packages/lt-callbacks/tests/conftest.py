"""A small run that callbacks can live in: the real hooks in the real order, and real files."""

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lt_interfaces.callback import Callback
from lt_interfaces.commit import commit_file, is_whole, remove_committed
from lt_interfaces.logger import Logger
from lt_interfaces.roles import CheckpointRole
from lt_interfaces.states import RunningStage, TrainerFn, TrainerState, TrainerStatus

sys.path.insert(0, str(Path(__file__).parent))  # lets tests import `trial_runs`: pytest's import mode leaves it out


class Journal(Logger):
    """A logger that remembers."""

    def __init__(self, save_dir: Path | None = None, version: int | str = 0) -> None:
        self.rows: list[tuple[int | None, dict[str, float]]] = []
        self.saved: list[str] = []
        self._save_dir = save_dir
        self._version = version

    @property
    def name(self) -> str:
        return "journal"

    @property
    def version(self) -> int | str:
        return self._version

    @property
    def save_dir(self) -> str | None:
        return None if self._save_dir is None else str(self._save_dir)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.rows.append((step, dict(metrics)))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError

    def after_save_checkpoint(self, checkpoint_callback: CheckpointRole) -> None:
        self.saved.append(checkpoint_callback.best_model_path or checkpoint_callback.last_model_path)


Metrics = Callable[["StandInRun"], Mapping[str, float]]


def no_metrics(run: "StandInRun") -> Mapping[str, float]:
    return {}


class StandInStrategy:
    """Can everything, and takes the mean with another rank whose values are zeros."""

    def __init__(self) -> None:
        self.unsupported: list[Any] = []
        self.root_device = torch.device("cpu")

    def supports(self, part: Any) -> bool:
        return part not in self.unsupported

    def load_module_state(self, module: nn.Module, state: Mapping[str, Any]) -> None:
        module.load_state_dict(state)

    def reduce(self, tensor: Tensor, *, op: str) -> Tensor:
        assert op == "mean"
        return tensor / 2


class StandInRun:
    """Satisfies TrainerView and RunControl for one process, and drives callbacks through a fit."""

    def __init__(self, root: Path, *callbacks: Callback, loggers: Iterable[Logger] = (), **facts: Any) -> None:
        self.default_root_dir = str(root)
        self.callbacks = list(callbacks)
        self.loggers = list(loggers)
        self.strategy = StandInStrategy()
        self.module: Any = nn.Linear(2, 1)
        self.module.automatic_optimization = True
        self.optimizers: list[Any] = [torch.optim.SGD(self.module.parameters(), lr=0.1)]
        self.lr_scheduler_configs: list[Any] = []
        self.state = TrainerState(TrainerStatus.RUNNING, TrainerFn.FITTING, RunningStage.TRAINING)
        self.fast_dev_run: int | bool = False
        self.current_epoch = self.global_step = self.batches = 0
        self.max_epochs, self.num_training_batches = 1, 10
        self.num_val_batches: list[int | float] = []
        self.num_sanity_val_batches: list[int | float] = []
        self.num_test_batches: list[int | float] = [4]
        self.num_predict_batches: list[int | float] = [4]
        self.accumulate_grad_batches = self.steps_per_batch = 1
        self.val_check_interval: Any = 1.0
        self.check_val_every_n_epoch: int | None = 1
        self.validate_each: int | None = None
        self.should_stop = self.is_last_batch = False
        self.logging_is_due = True
        self.log_every_n_steps = 1
        self.accelerator: Any = None
        self.ckpt_path: str | None = None
        self.world_size, self.global_rank = 1, 0
        self.callback_metrics: dict[str, Tensor] = {}
        self.shown: dict[str, float] = {}
        self.metric_reads = 0
        self.stop_reasons: list[str] = []
        self.removed: list[str] = []
        self.train_metrics: Metrics = no_metrics
        self.val_metrics: Metrics = no_metrics
        self.fail_save = False
        for name, value in facts.items():
            setattr(self, name, value)

    # --- what callbacks read ---

    @property
    def is_global_zero(self) -> bool:
        return self.global_rank == 0

    @property
    def sanity_checking(self) -> bool:
        return self.state.stage is RunningStage.SANITY_CHECKING

    @property
    def enable_validation(self) -> bool:
        return bool(self.num_val_batches)

    @property
    def progress_bar_metrics(self) -> dict[str, float]:
        self.metric_reads += 1
        return self.shown

    def reduced(self, key: str) -> Tensor | None:
        return self.callback_metrics.get(key)

    def agree(self, decision: bool, *, all_ranks: bool = True) -> bool:
        return decision

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        return obj

    # --- what callbacks ask for ---

    def request_stop(self, reason: str = "") -> None:
        self.should_stop = True
        self.stop_reasons.append(reason)

    def save_checkpoint(
        self, filepath: str | Path, weights_only: bool | None = None, storage_options: Any | None = None
    ) -> None:
        if self.fail_save:
            message = "disk full"
            raise OSError(message)
        states = {} if weights_only else {callback.state_key: callback.state_dict() for callback in self.callbacks}
        content = {"global_step": self.global_step, "epoch": self.current_epoch, "callbacks": states}
        with commit_file(filepath) as file:
            torch.save(content, file)

    def remove_checkpoint(self, filepath: str) -> None:
        self.removed.append(filepath)
        remove_committed(filepath)

    def has_checkpoint(self, filepath: str) -> bool:
        return is_whole(filepath)

    def set_accumulation(self, micro_batches: int) -> None:
        self.accumulate_grad_batches = micro_batches

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        for logger in self.loggers:
            logger.log_metrics(metrics, self.batches if step is None else step)

    # --- the loop ---

    def tell(self, hook: str, *args: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, hook)(self, self.module, *args)

    def log(self, metrics: Mapping[str, float]) -> None:
        self.callback_metrics |= {name: torch.tensor(value) for name, value in metrics.items()}

    def fit(self, epochs: int = 1, batches: int = 10) -> "StandInRun":
        self.max_epochs, self.num_training_batches = epochs, batches
        self.begin()
        self.tell("on_fit_start")
        self.tell("on_train_start")
        while self.current_epoch < epochs and not self.should_stop:
            self.train_epoch()
            self.current_epoch += 1
        self.tell("on_train_end")
        self.tell("on_fit_end")
        self.tell("teardown", "fit")
        return self

    def begin(self, stage: str = "fit") -> None:
        self.tell("setup", stage)
        if self.ckpt_path is not None:
            saved = torch.load(self.ckpt_path, weights_only=True)
            self.global_step = saved["global_step"]
            for callback in self.callbacks:
                callback.load_state_dict(saved["callbacks"][callback.state_key])

    def train_epoch(self) -> None:
        self.tell("on_train_epoch_start")
        for index in range(self.num_training_batches):
            self.is_last_batch = index + 1 == self.num_training_batches
            self.tell("on_train_batch_start", None, index)
            self.batches += 1
            if (index + 1) % self.accumulate_grad_batches == 0 or self.is_last_batch:
                self.global_step += self.steps_per_batch
            self.tell("on_train_batch_end", None, None, index)
            every = self.validate_each or self.num_training_batches
            if self.enable_validation and (index + 1) % every == 0:
                self.validate()
            if self.should_stop:
                break
        self.log(self.train_metrics(self))
        self.tell("on_train_epoch_end")

    def validate(self, stage: RunningStage = RunningStage.VALIDATING) -> None:
        self.state.stage = stage
        self.evaluate("validation", self.num_val_batches)
        self.state.stage = RunningStage.TRAINING

    def evaluate(self, name: str, totals: Iterable[int | float]) -> None:
        self.tell(f"on_{name}_start")
        for loader, total in enumerate(totals):
            for index in range(int(total)):
                self.tell(f"on_{name}_batch_start", None, index, loader)
                self.tell(f"on_{name}_batch_end", None, None, index, loader)
        if not self.sanity_checking:
            self.log(self.val_metrics(self))
        self.tell(f"on_{name}_end")


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[..., StandInRun]:
    """Makes runs whose root is the test's own folder."""

    def make(*callbacks: Callback, **facts: Any) -> StandInRun:
        return StandInRun(tmp_path, *callbacks, **facts)

    return make


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path)
