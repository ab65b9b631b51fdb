"""`Trainer`: the front door. It turns its arguments into frozen specs and parts, then calls functions."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, Literal

from torch import Tensor, nn
from torch.optim import Optimizer

from lt_core.agreement import agree
from lt_core.checkpointing.save import save
from lt_core.clipping import clip_gradients
from lt_core.compiled import compiler_of, unwrap_compiled
from lt_core.constructor import with_environment_defaults
from lt_core.default_parts import (
    CallbackList,
    bind_logging,
    check_state_keys,
    make_callbacks,
    make_loggers,
    make_profiler,
    merge_module_callbacks,
)
from lt_core.entry import entrance
from lt_core.estimation import estimated_stepping_batches
from lt_core.fit_loop import FitLoop, PredictLoop, changed_limits, with_accumulation
from lt_core.hook_plan import HookPlan
from lt_core.job_order import LOADER_STAGE, Order, check_model, require_loaders, run_limits, wants_predictions
from lt_core.logging.publication import MetricBoard, reduced, send
from lt_core.logging.recorder import Recorder
from lt_core.loops.stepping import differentiate
from lt_core.loops.training import logging_is_due
from lt_core.new_runs import new_evaluation_run, new_fit_run
from lt_core.profiling import PassThroughProfiler
from lt_core.run.fit_run import EvaluationRun, FitRun
from lt_core.run.job import Job, RunLimits
from lt_core.run.optimization import Optimization
from lt_core.run.requests import SaveRequest
from lt_core.run.signals import Signals
from lt_core.settings import Fact, OfStage, Setting, StageFlag, WithRole, first
from lt_core.specs import TrainerSpecs, refuse_role_conflicts, trainer_specs
from lt_core.stages import evaluate_in_process, fit_in_process, predict_in_process, use_optimizers
from lt_core.verification import verify
from lt_fabric.assemble import assemble
from lt_interfaces.logger import Logger
from lt_interfaces.progress import FitProgress
from lt_interfaces.roles import Role
from lt_interfaces.scheduling import LRSchedulerConfig
from lt_interfaces.states import RunningStage, TrainerFn, TrainerState

AnyPath = str | os.PathLike[str]


class Trainer:
    """Trains, validates, tests and predicts with a `LightningModule`, on one device or many, without code changes.

    All arguments are checked here, and a wrong one raises at once, named. What they mean in full is in the reference.
    Variables ``PL_TRAINER_<ARGUMENT>`` supply defaults.

    Args:
        accelerator: kind of device: "auto", "cpu", "gpu", "cuda", "mps", another installed name, or an instance.
        strategy: how the module is laid out over devices: "auto", an installed name such as "ddp", or an instance.
        devices: how many or which: "auto", 2, -1 (all), [0, 2], "0,2".
        num_nodes: machines of the job.
        precision: number formats, such as "32-true" (default), "bf16-mixed", "16-mixed", or an instance.
        logger: where metrics go: ``True`` or ``None`` (TensorBoard, or CSV, if installed), ``False``, one or several.
        callbacks: one or several `Callback`; defaults are added unless switched off. The list isn't changed.
        fast_dev_run: try all code with this many batches (``True``: one), without loggers and checkpoints.
        max_epochs: stop after so many epochs; -1: no limit; ``None``: 1000 unless another limit is given.
        min_epochs: don't stop before so many epochs.
        max_steps: stop after so many optimizer steps; -1: no limit.
        min_steps: don't stop before so many optimizer steps.
        max_time: stop after this time: "DD:HH:MM:SS", a timedelta or its arguments as a dict.
        limit_train_batches: batches per epoch: an int counts, a float is a fraction.
        limit_val_batches: the same for validation.
        limit_test_batches: the same for testing.
        limit_predict_batches: the same for predicting.
        overfit_batches: train and validate on the same few batches, unshuffled.
        val_check_interval: validate every so many batches (int), fraction of an epoch (float) or time.
        check_val_every_n_epoch: validate in every n-th epoch; ``None``: count batches across epochs.
        num_sanity_val_steps: validation batches tried before training; -1: all; 0: none.
        log_every_n_steps: batches between two flushes to the loggers; 0: never.
        enable_checkpointing: add a `ModelCheckpoint` unless one is given; ``None``: if lt-callbacks is installed.
        enable_progress_bar: add a progress bar unless one is given; ``None``: if lt-callbacks is installed.
        enable_model_summary: print a summary of the module; ``None``: if lt-callbacks is installed.
        accumulate_grad_batches: micro-batches per optimizer step.
        gradient_clip_val: largest norm or value of the gradients; ``None``: no clipping.
        gradient_clip_algorithm: "norm" or "value".
        deterministic: use deterministic algorithms for the time of a run; "warn": warn where there's none.
        benchmark: let cuDNN search for the fastest algorithm.
        inference_mode: evaluate under `torch.inference_mode` rather than `torch.no_grad`.
        use_distributed_sampler: give each rank its share of the data.
        profiler: an installed name such as "simple", or an instance.
        detect_anomaly: let autograd look for the operation that made a NaN.
        barebones: switch everything off that costs time, to measure the loop.
        plugins: instances of Precision, CheckpointIO, ClusterEnvironment.
        sync_batchnorm: synchronise batch norm over ranks.
        reload_dataloaders_every_n_epochs: ask for new loaders every n epochs.
        default_root_dir: folder for what has no other; the current one.
        enable_autolog_hparams: log hyper-parameters when a run starts.
        model_registry: accepted for compatibility.
        suggest_integrations: accepted for compatibility; nothing is ever suggested.
        seed_items: seed random generators for each item read, so that random augmentation doesn't depend on workers;
            ``True``, a seed, or ``None``: as the datamodule says.
        uneven_data: when some ranks have more training batches: "stop" the epoch with the first rank that has none
            left, or "pad" with batches that count for nothing until all are through.
        log_gradient_norm: log the norm of all gradients before clipping as "grad_norm" (with several optimizers
            "grad_norm/0", ...), at each step, without a wait for the device.
        compile: let `torch.compile` compile ``forward`` and the steps that the module defines, for the time of a run:
            ``True``, or a dict of its arguments such as ``{"mode": "reduce-overhead"}``. In manual optimization the
            training step isn't compiled.

    Raises:
        MisconfigurationException: (a `ValueError`) for a wrong value, naming argument, value and what's accepted.
        TypeError: for a wrong type or an unknown argument, with what it may have meant.

    Example::

        trainer = Trainer(max_epochs=3)
        trainer.fit(model, train_loader, val_loader)
        trainer.test(model, test_loader)
    """

    @with_environment_defaults
    def __init__(
        self,
        *,
        accelerator: Any = "auto",
        strategy: Any = "auto",
        devices: int | str | list[int] = "auto",
        num_nodes: int = 1,
        precision: Any = None,
        logger: bool | Logger | Iterable[Logger] | None = None,
        callbacks: Any = None,
        fast_dev_run: int | bool = False,
        max_epochs: int | None = None,
        min_epochs: int | None = None,
        max_steps: int = -1,
        min_steps: int | None = None,
        max_time: str | timedelta | Mapping[str, int] | None = None,
        limit_train_batches: int | float | None = None,
        limit_val_batches: int | float | None = None,
        limit_test_batches: int | float | None = None,
        limit_predict_batches: int | float | None = None,
        overfit_batches: int | float = 0.0,
        val_check_interval: int | float | str | timedelta | Mapping[str, int] | None = None,
        check_val_every_n_epoch: int | None = 1,
        num_sanity_val_steps: int | None = None,
        log_every_n_steps: int | None = None,
        enable_checkpointing: bool | None = None,
        enable_progress_bar: bool | None = None,
        enable_model_summary: bool | None = None,
        accumulate_grad_batches: int = 1,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
        deterministic: bool | str | None = None,
        benchmark: bool | None = None,
        inference_mode: bool = True,
        use_distributed_sampler: bool = True,
        profiler: Any = None,
        detect_anomaly: bool = False,
        barebones: bool = False,
        plugins: Any = None,
        sync_batchnorm: bool = False,
        reload_dataloaders_every_n_epochs: int = 0,
        default_root_dir: AnyPath | None = None,
        enable_autolog_hparams: bool = True,
        model_registry: str | None = None,
        suggest_integrations: bool = True,
        seed_items: bool | int | None = None,
        uneven_data: str = "stop",
        log_gradient_norm: bool = False,
        compile: bool | Mapping[str, Any] = False,
    ) -> None:
        arguments = {name: value for name, value in locals().items() if name != "self"}
        self._specs: TrainerSpecs = trainer_specs(**arguments)
        self._runtime = assemble(self._specs.hardware)
        self._callbacks = CallbackList(make_callbacks(self._specs), self._hear_callbacks)
        check_state_keys(self._callbacks)
        self._loggers = make_loggers(self._specs)
        self._profiler = make_profiler(self._specs)
        self._state = TrainerState()
        self._board = MetricBoard()
        self._recorder = Recorder()
        self._hooks = HookPlan(self._recorder, self._profiler)
        self._signals = Signals()
        self._module: Any = None
        self._job: Job | None = None
        self._fit_run: FitRun | None = None
        self._evaluation: EvaluationRun | None = None
        self._next_ckpt_path: AnyPath | None = None

    # --- entry points ---

    def fit(
        self,
        model: Any,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: Any = None,
        ckpt_path: AnyPath | None = None,
        weights_only: bool | None = None,
        strict: bool = True,
    ) -> None:
        """Train the module.

        Args:
            model: the LightningModule.
            train_dataloaders: a loader, a nested collection of loaders, or a datamodule.
            val_dataloaders: a loader or a list of loaders.
            datamodule: gives all loaders.
            ckpt_path: resume from here: a path or URL, "last", "best", "hpc".
            weights_only: ``False`` unpickles arbitrary objects from the checkpoint; only for files you trust.
            strict: whether an optimizer, scheduler, callback or datamodule that has no state in the checkpoint is an
                error; ``False`` lets these start anew. For keys of weights there's ``LightningModule.strict_loading``.
        """
        order = Order(model, train_dataloaders, datamodule, ckpt_path, weights_only, strict)
        job = self._new_job(TrainerFn.FITTING, order)
        passed = {"train": order.loaders, "val": val_dataloaders}
        sources = {stage: order.source(stage, job.module, loaders) for stage, loaders in passed.items()}
        verify(job, sources)
        run = self._fit_run = new_fit_run(job, **sources, progress=self._progress)
        entrance(job)(fit_in_process, run)

    def validate(
        self,
        model: Any = None,
        dataloaders: Any = None,
        ckpt_path: AnyPath | None = None,
        verbose: bool = True,
        datamodule: Any = None,
        weights_only: bool | None = None,
    ) -> list[dict[str, float]]:
        """Validate the module and return the metrics of each loader; prints them unless ``verbose=False``.

        Args:
            model: the LightningModule; by default the one used last, with its best checkpoint.
            dataloaders: a loader, a list of loaders, or a datamodule.
            ckpt_path: load weights from here: a path, "best", "last", "hpc".
            verbose: print the results.
            datamodule: gives the loaders.
            weights_only: as in `fit`.
        """
        run = self._new_evaluation(TrainerFn.VALIDATING, Order(model, dataloaders, datamodule, ckpt_path, weights_only))
        return self._evaluate(run, verbose)

    def test(
        self,
        model: Any = None,
        dataloaders: Any = None,
        ckpt_path: AnyPath | None = None,
        verbose: bool = True,
        datamodule: Any = None,
        weights_only: bool | None = None,
    ) -> list[dict[str, float]]:
        """Test the module and return the metrics of each loader; arguments as in `validate`."""
        run = self._new_evaluation(TrainerFn.TESTING, Order(model, dataloaders, datamodule, ckpt_path, weights_only))
        return self._evaluate(run, verbose)

    def predict(
        self,
        model: Any = None,
        dataloaders: Any = None,
        datamodule: Any = None,
        return_predictions: bool | None = None,
        ckpt_path: AnyPath | None = None,
        weights_only: bool | None = None,
        gather: bool = False,
    ) -> list[Any] | None:
        """Predict, and return the outputs of all batches: a list, or a list per loader if there are several.

        Args:
            model: as in `validate`.
            dataloaders: as in `validate`.
            datamodule: as in `validate`.
            return_predictions: ``False`` keeps nothing, for callbacks that write predictions elsewhere.
            ckpt_path: as in `validate`.
            weights_only: as in `fit`.
            gather: return the outputs of all ranks on every rank, in the order of samples, as one process would;
                each output must have an entry per sample. Else a rank returns those of its own share.

        Raises:
            MisconfigurationException: for outputs or loaders that can't be gathered, or with nothing to gather.
        """
        keep = wants_predictions(return_predictions, gather=gather)
        run = self._new_evaluation(TrainerFn.PREDICTING, Order(model, dataloaders, datamodule, ckpt_path, weights_only))
        outputs = entrance(run.job)(predict_in_process, run, epoch=self.current_epoch, keep=keep, gather=gather)
        return (outputs[0] if len(outputs) == 1 else outputs) if keep else None

    def save_checkpoint(
        self, filepath: AnyPath, weights_only: bool | None = None, storage_options: Any | None = None
    ) -> None:
        """Save a checkpoint that `fit` can resume from. Collective: call it on every rank.

        Args:
            filepath: where.
            weights_only: leave out what only training needs.
            storage_options: for checkpoint IOs that take any.

        Raises:
            AttributeError: before any module was attached.
        """
        if self._job is None:
            message = "`save_checkpoint` needs a module: call `fit`, `validate`, `test` or `predict` first."
            raise AttributeError(message)
        save(self._job, self._fit_run, SaveRequest(filepath, bool(weights_only), storage_options))

    # --- what callbacks may ask for (RunControl) ---

    def request_stop(self, reason: str = "") -> None:
        """Ask to stop after the current batch; ``min_epochs`` and ``min_steps`` are waited for."""
        if self._fit_run is not None:
            self._fit_run.requests.request_stop(reason)

    def request_save(self, path: AnyPath) -> None:
        """Ask for a checkpoint at the next step boundary; safe in signal handlers and threads."""
        if self._fit_run is not None:
            self._fit_run.requests.request_save(SaveRequest(path))

    def remove_checkpoint(self, filepath: AnyPath) -> None:
        """Remove a checkpoint, on rank 0, after pending saves."""
        if self.is_global_zero:
            self._runtime.checkpoint_io.remove_checkpoint(filepath)

    def has_checkpoint(self, filepath: AnyPath) -> bool:
        """Say whether a whole checkpoint is there, on disk or in a remote store."""
        return self._runtime.checkpoint_io.is_whole(filepath)

    def set_accumulation(self, micro_batches: int) -> None:
        """Change the number of micro-batches per optimizer step, from the next window on."""
        self._specs = with_accumulation(self._specs, micro_batches)
        if self._fit_run is not None:
            self._fit_run.optimization.accumulation = micro_batches

    def trial_run(self, steps: int) -> AbstractContextManager[Iterator[Tensor]]:
        """Return a context that gives an iterator which trains, and takes everything back when it ends."""
        # Loaded with trials alone: `import lt_core` keeps within its budget of modules.
        from lt_core.trial import trial_run

        return trial_run(self, self._running_fit, steps=steps, use=partial(setattr, self, "_fit_run"))

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Send metrics to every logger now, and make them visible in `callback_metrics`."""
        self._board.publish(metrics)
        x_axis = self._progress.batches_that_stepped if step is None else step
        send(self._loggers, {"epoch": self.current_epoch, **metrics}, x_axis)

    def agree(self, decision: bool, *, all_ranks: bool = True) -> bool:
        """Return whether all ranks (or any) decided so. Collective."""
        return agree(self._runtime.strategy, decision, all_ranks=all_ranks)

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        """Return the object of one rank. Collective."""
        return self.strategy.broadcast(obj, src)

    def reduced(self, key: str) -> Tensor | None:
        """Return the current value of a callback metric over all ranks. Collective."""
        return reduced(self._recorder.results, self._board, key=key, ranks=self.strategy)

    # --- what modules ask for ---

    def manual_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute gradients; what `LightningModule.manual_backward` calls."""
        differentiate(self._running_job, loss, *args, **kwargs)

    def clip_gradients(
        self, optimizer: Optimizer, gradient_clip_val: Any, gradient_clip_algorithm: Any
    ) -> Tensor | None:
        """Clip gradients and return their norm; what `LightningModule.clip_gradients` calls."""
        asked = {"optimizer": optimizer, "value": gradient_clip_val, "algorithm": gradient_clip_algorithm}
        job, note = self._running_job, self._running_fit.optimization.note_norm  # not what's assigned meanwhile
        return clip_gradients(job.runtime, job.specs, note=note, **asked)

    @contextmanager
    def init_module(self, empty_init: bool | None = None) -> Iterator[None]:
        """Return a context in which a module is created on its device and in its format."""
        with self.strategy.init_context(empty_init=empty_init), self._runtime.precision.module_init_context():
            yield

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print once per node."""
        if self.local_rank == 0:
            print(*args, **kwargs)  # noqa: T201  # printing is what it is for

    # --- parts ---

    accelerator = Fact[Any]("_runtime.accelerator")
    strategy = Fact[Any]("_runtime.strategy")
    precision_plugin = Fact[Any]("_runtime.precision")
    precision = Fact[str]("_runtime.precision.precision")  # its canonical name

    @property
    def scaler(self) -> Any:
        """The loss scaler, or ``None``."""
        return getattr(self._runtime.precision, "scaler", None)

    @property
    def recorder(self) -> Recorder | None:
        """Where `LightningModule.log` puts values; ``None`` under ``barebones``."""
        return None if self._specs.barebones else self._recorder

    # where this process stands in the job, counted from 0; see `Strategy`
    global_rank = Fact[int]("_runtime.strategy.global_rank")
    local_rank = Fact[int]("_runtime.strategy.local_rank")
    node_rank = Fact[int]("_runtime.strategy.node_rank")
    world_size = Fact[int]("_runtime.strategy.world_size")
    is_global_zero = Fact[bool]("_runtime.strategy.is_global_zero")
    distributed_sampler_kwargs = Fact[Any]("_runtime.strategy.distributed_sampler_kwargs")
    num_nodes = Fact[int]("_runtime.num_nodes")

    @property
    def num_devices(self) -> int:
        """Devices of this node."""
        return len(self._runtime.devices)

    @property
    def device_ids(self) -> list[int]:
        """Indices of this node's devices."""
        return [place if device.index is None else device.index for place, device in enumerate(self._runtime.devices)]

    lightning_module = Fact[Any]("_module")
    model = Fact[nn.Module | None]("_module")  # as the strategy wrapped it; whoever asks sees the user's module

    @property
    def datamodule(self) -> Any:
        """The datamodule of the last call, or ``None``."""
        return None if self._job is None else self._job.datamodule

    @property
    def optimizers(self) -> list[Optimizer]:
        """The optimizers being stepped."""
        return self._optimization.optimizers

    @optimizers.setter
    def optimizers(self, optimizers: list[Optimizer]) -> None:
        use_optimizers(self._running_fit, optimizers)

    # the optimizers as the user's module gets them, and the learning-rate schedulers with their intervals
    lightning_optimizers = Fact[list[Any]]("_optimization.proxies")
    lr_scheduler_configs = Fact[list[LRSchedulerConfig]]("_optimization.schedulers")
    # of the last step's gradients before clipping, on the device; None without clipping by norm or `log_gradient_norm`
    gradient_norm = Fact[Tensor | None]("_optimization.gradient_norm")

    # --- callbacks and loggers ---

    @property
    def callbacks(self) -> list[Any]:
        """The callbacks, in the order they're called; may be changed, also within a run, or assigned anew."""
        return self._callbacks

    @callbacks.setter
    def callbacks(self, callbacks: list[Any]) -> None:
        refuse_role_conflicts(callbacks, enable_checkpointing=None, enable_progress_bar=None)
        check_state_keys(callbacks)
        self._callbacks[:] = callbacks  # in place: a running job holds this very list
        self._hear_callbacks()  # where it's a plain list, in a process that was started for the job

    def _hear_callbacks(self) -> None:
        if self._job is not None:
            bind_logging(self._callbacks, self._module)
            self._hooks.resolve(self, self._callbacks, module=self._module, datamodule=self._job.datamodule)

    def _with_role(self, role: Role) -> list[Any]:
        return [callback for callback in self._callbacks if getattr(callback, "role", None) is role]

    checkpoint_callbacks = WithRole[list[Any]](Role.CHECKPOINT)
    checkpoint_callback = WithRole[Any](Role.CHECKPOINT, first)  # or None, as the others in the singular
    early_stopping_callbacks = WithRole[list[Any]](Role.STOP)
    early_stopping_callback = WithRole[Any](Role.STOP, first)
    progress_bar_callback = WithRole[Any](Role.PROGRESS, first)

    @property
    def loggers(self) -> list[Logger]:
        """The loggers."""
        return self._loggers

    @loggers.setter
    def loggers(self, loggers: Iterable[Logger] | None) -> None:
        # In place: a running job holds this very list.
        self._loggers[:] = list(loggers or [])

    @property
    def logger(self) -> Logger | None:
        """The first logger, or ``None``."""
        return next(iter(self._loggers), None)

    @logger.setter
    def logger(self, logger: Logger | Literal[False] | None) -> None:
        self.loggers = [logger] if logger else []

    @property
    def log_dir(self) -> str | None:
        """The folder of this run: the first logger's, else ``default_root_dir``. Not collective."""
        return self.default_root_dir if self.logger is None else self.logger.log_dir or self.logger.save_dir

    @property
    def ckpt_path(self) -> AnyPath | None:
        """The checkpoint of the current or last call; assign one to use it in the calls that follow."""
        is_idle = self._job is None or (self._state.stopped and self._next_ckpt_path is not None)
        return self._next_ckpt_path if is_idle else self._running_job.resume.path

    @ckpt_path.setter
    def ckpt_path(self, path: AnyPath | None) -> None:
        self._next_ckpt_path = path

    # --- metrics ---

    @property
    def callback_metrics(self) -> dict[str, Tensor]:
        """Current values for decisions; between flushes those of this rank (see `reduced`)."""
        return self._current_board.callback

    @property
    def logged_metrics(self) -> dict[str, Tensor]:
        """The values that loggers get."""
        return self._current_board.logged

    @property
    def progress_bar_metrics(self) -> dict[str, float]:
        """The values logged with ``prog_bar=True``, as numbers; a host sync."""
        return self._current_board.bar()

    @property
    def _current_board(self) -> MetricBoard:
        if self._recorder.results is not None:
            self._board.take_current(self._recorder.results, alone=self.world_size == 1)
        return self._board

    # --- progress ---

    @property
    def _optimization(self) -> Optimization:
        return Optimization(self.strategy) if self._fit_run is None else self._fit_run.optimization

    @property
    def _progress(self) -> FitProgress:
        return FitProgress() if self._fit_run is None else self._fit_run.progress

    # optimizer steps of all optimizers; those left out since scaled gradients had overflowed, which aren't among them
    global_step = Fact[int]("_progress.global_step")
    skipped_steps = Fact[int]("_progress.skipped_steps")
    # epochs completed, and whether the current training batch is the epoch's last
    current_epoch = Fact[int]("_progress.epochs_completed")
    is_last_batch = Fact[bool]("_progress.is_last_batch")

    @property
    def should_stop(self) -> bool:
        """Whether somebody has asked to stop; set it to ask."""
        return self._fit_run is not None and self._fit_run.requests.is_stop_wanted

    @should_stop.setter
    def should_stop(self, stop: bool) -> None:
        if stop:
            self.request_stop()
        elif self._fit_run is not None:
            self._fit_run.requests.withdraw_stop()

    @property
    def logging_is_due(self) -> bool:
        """Whether step values go to the loggers after the current batch."""
        return self._fit_run is not None and logging_is_due(self._fit_run)

    @property
    def estimated_stepping_batches(self) -> int | float:
        """Optimizer steps that fitting will take in all; infinite when unknown. Loads the training data."""
        return estimated_stepping_batches(self._running_fit)

    # --- limits and settings: as given, see the arguments of the same names; a `Setting` may be assigned ---

    max_steps = Fact[int]("_specs.limits.max_steps")
    min_steps = Fact[int | None]("_specs.limits.min_steps")
    fast_dev_run = Fact[int | bool]("_specs.limits.fast_dev_run")
    overfit_batches = Fact[int | float]("_specs.limits.overfit_batches")
    limit_train_batches = Setting[int | float]("limits")
    limit_val_batches = Setting[int | float]("limits")
    limit_test_batches = Setting[int | float]("limits")
    limit_predict_batches = Setting[int | float]("limits")
    reload_dataloaders_every_n_epochs = Setting[int]("limits")
    gradient_clip_val = Setting[int | float | None]("optimization")
    gradient_clip_algorithm = Setting[str | None]("optimization")
    val_check_interval = Setting[int | float | timedelta]("evaluation")
    check_val_every_n_epoch = Setting[int | None]("evaluation")
    num_sanity_val_steps = Setting[int | float]("evaluation")
    enable_autolog_hparams = Setting[bool]("logging")
    log_every_n_steps = Setting[int]("logging")
    default_root_dir = Fact[str]("_specs.saving.default_root_dir")
    barebones = Fact[bool]("_specs.barebones")

    @property
    def fit_loop(self) -> FitLoop:
        """The limits that may be changed between two fits, and the counters of the current or last one."""
        return FitLoop(self, self._change_limits, self._progress)

    @property
    def predict_loop(self) -> PredictLoop:
        """Which samples are being predicted from, where a callback writes predictions."""
        return PredictLoop(run.batch_indices if (run := self._run_of("predict")) is not None else [])

    @property
    def _limits(self) -> RunLimits | None:
        return self._job.limits if self._job is not None and self._job.fn is TrainerFn.FITTING else None

    @property
    def max_epochs(self) -> int | None:
        """The limit in epochs; -1: none; ``None`` until a run settles it."""
        limit = self._specs.limits.max_epochs
        return self._limits.max_epochs if limit is None and self._limits is not None else limit

    @property
    def min_epochs(self) -> int | None:
        """Epochs that a stop request waits for."""
        return self._limits.min_epochs if self._limits is not None else self._specs.limits.min_epochs

    @property
    def accumulate_grad_batches(self) -> int:
        """Micro-batches per optimizer step; assigning is `set_accumulation`."""
        if self._fit_run is not None:
            return self._fit_run.optimization.accumulation
        return self._specs.optimization.accumulate_grad_batches

    @accumulate_grad_batches.setter
    def accumulate_grad_batches(self, micro_batches: int) -> None:
        self.set_accumulation(micro_batches)

    @property
    def profiler(self) -> Any:
        """The profiler; one that measures nothing where none was given."""
        return self._profiler or PassThroughProfiler()

    # --- data ---

    @property
    def num_training_batches(self) -> int | float:
        """Batches per training epoch on this rank; infinite before they're loaded and when unknown."""
        return float("inf") if self._fit_run is None else self._fit_run.data.num_batches

    @property
    def train_dataloader(self) -> Any:
        """The training loaders, as they were given."""
        return None if self._fit_run is None else self._fit_run.data.loaders.raw

    # the evaluated loaders as they were given, and the batches of each
    num_val_batches = OfStage[list[int | float]]("val", "loaders.counts", list)
    val_dataloaders = OfStage[Any]("val", "loaders.raw", lambda: None)
    num_test_batches = OfStage[list[int | float]]("test", "loaders.counts", list)
    test_dataloaders = OfStage[Any]("test", "loaders.raw", lambda: None)
    num_predict_batches = OfStage[list[int | float]]("predict", "loaders.counts", list)
    predict_dataloaders = OfStage[Any]("predict", "loaders.raw", lambda: None)

    @property
    def num_sanity_val_batches(self) -> list[int | float]:
        """Batches of each validation loader in the sanity check."""
        return [min(self.num_sanity_val_steps, count) for count in self.num_val_batches]

    @property
    def enable_validation(self) -> bool:
        """Whether fitting validates."""
        return self._fit_run is not None and self._fit_run.validation.is_wanted

    def _run_of(self, stage: str) -> EvaluationRun | None:
        """Return the run of this stage that goes on or was last, alone or inside of fitting."""
        if self._evaluation is not None and self._evaluation.loaders.source.stage == stage:
            return self._evaluation
        return self._fit_run.validation.run if self._fit_run is not None and stage == "val" else None

    # --- stage ---

    state = Fact[TrainerState]("_state")  # status, entry point and stage
    training = StageFlag(RunningStage.TRAINING)
    validating = StageFlag(RunningStage.VALIDATING)
    testing = StageFlag(RunningStage.TESTING)
    predicting = StageFlag(RunningStage.PREDICTING)
    sanity_checking = StageFlag(RunningStage.SANITY_CHECKING)

    # whether it's validating, sanity checking or testing; whether the last call ended with an exception
    evaluating = Fact[bool]("_state.evaluating")
    interrupted = Fact[bool]("_state.interrupted")
    received_sigterm = Fact[bool]("_signals.received_sigterm")  # whether the process was told to end

    # --- putting a call together ---

    @property
    def _running_job(self) -> Job:
        if self._job is None:
            message = "This needs a running Trainer: call `fit` first."
            raise RuntimeError(message)
        return self._job

    @property
    def _running_fit(self) -> FitRun:
        if self._fit_run is None:
            message = "This is known once `fit` was called, e.g. in `configure_optimizers`."
            raise RuntimeError(message)
        return self._fit_run

    def _new_job(self, fn: TrainerFn, order: Order) -> Job:
        """Bring the parts of one call together, attach the module, and find out who hears which hook."""
        is_same = order.model is None and self._job is not None
        compiler = self._running_job.compile_method if is_same else compiler_of(order.model, self._specs.compilation)
        module = check_model(unwrap_compiled(self._module if order.model is None else order.model), fn.value)
        datamodule = order.datamodule
        self._module, module.trainer = module, self
        if datamodule is not None:
            datamodule.trainer = self
        own = module.configure_callbacks()
        self._callbacks = CallbackList(merge_module_callbacks(self._callbacks, own), self._hear_callbacks)
        check_state_keys(self._callbacks)
        refuse_role_conflicts(self._callbacks, enable_checkpointing=None, enable_progress_bar=None)
        bind_logging(self._callbacks, module)
        self._state.fn = fn
        self._board.clear()
        if self._job is not None:
            self._runtime = assemble(self._specs.hardware)
        runtime, specs = self._runtime, self._specs
        self._job = Job(
            fn=fn,
            runtime=runtime,
            specs=specs,
            limits=run_limits(specs.limits, fn, has_timer=bool(self._with_role(Role.TIMER))),
            state=self._state,
            module=module,
            datamodule=datamodule,
            callbacks=self._callbacks,
            loggers=self._loggers,
            profiler=self._profiler,
            hooks=self._hooks,
            recorder=self._recorder,
            board=self._board,
            resume=order.resume(fn, specs, callbacks=self._callbacks, runtime=runtime, user=self._next_ckpt_path),
            signals=self._signals,
            save=self.save_checkpoint,
            compile_method=compiler,
        )
        self._hooks.resolve(self, self._callbacks, module=module, datamodule=datamodule)
        return self._job

    def _new_evaluation(self, fn: TrainerFn, order: Order) -> EvaluationRun:
        job, stage = self._new_job(fn, order), LOADER_STAGE[fn]
        source = order.source(stage, job.module, order.loaders)
        verify(job, {stage: source})
        require_loaders(source, fn.value)
        self._evaluation = new_evaluation_run(job, source)
        return self._evaluation

    def _evaluate(self, run: EvaluationRun, verbose: bool) -> list[dict[str, float]]:
        x_axis = self._progress.batches_that_stepped
        outputs: list[dict[str, float]] = entrance(run.job)(
            evaluate_in_process, run, x_axis=x_axis, epoch=self.current_epoch, verbose=verbose
        )
        return outputs

    def _change_limits(self, **limits: Any) -> None:
        self._specs = replace(self._specs, limits=changed_limits(self._specs.limits, **limits))
