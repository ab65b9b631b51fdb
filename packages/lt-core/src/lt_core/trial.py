"""A trial within a run: some optimizer steps of which nothing remains, for callbacks that look for good settings."""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from copy import deepcopy
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from lt_core.hook_plan import HookPlan
from lt_core.logging.metric_objects import isolated_metrics
from lt_core.loops.stepping import loss_of
from lt_core.loops.training import train_batch
from lt_core.loops.transfer import transfer_function
from lt_core.new_runs import new_fit_run
from lt_core.run.fit_run import BatchStep, FitRun
from lt_core.run.job import RunLimits
from lt_core.run.optimization import Optimization
from lt_core.stages import use_optimizers
from lt_fabric.data.owned_generators import capture_generators, owned_generators, restore_generators
from lt_interfaces import plugins
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.logger import Logger
from lt_interfaces.progress import FitProgress
from lt_interfaces.rng import isolate_rng
from lt_interfaces.states import RunningStage
from lt_interfaces.strategy import Capability


@contextmanager
def trial_run(
    trainer: Any, run: FitRun, *, steps: int, use: Callable[[FitRun], None]
) -> Iterator[Generator[Tensor, None, None]]:
    """Return a context that gives an iterator which trains, and takes everything back when it ends.

    Args:
        trainer: hooks of the module hear of the trial with it.
        run: the run within which steps are tried.
        steps: how many optimizer steps to take at most.
        use: lets the trainer show another run's state.
    """
    trial, loggers = _new_trial(trainer, run), list(trainer.loggers)
    with _taken_back(trial), closing(_steps(trial, steps)) as losses:
        use(trial)
        trainer.loggers = _silent(loggers)  # the module may call its logger itself
        try:
            yield losses
        finally:
            trainer.loggers = loggers
            use(run)


def _silent(loggers: list[Logger]) -> list[Logger]:
    """Return what stands for the loggers without keeping anything."""
    if not loggers or not plugins.is_installed("loggers", "dummy"):
        return []
    return [plugins.resolve("loggers", "dummy")() for _ in loggers]


def _new_trial(trainer: Any, run: FitRun) -> FitRun:
    """Return a run on the same module and optimizers that callbacks and loggers hear nothing of.

    Its loaders are asked for anew when it starts, and its counters begin at 0.

    Raises:
        MisconfigurationException: the strategy can't take steps back.
    """
    strategy = run.job.runtime.strategy
    if not strategy.supports(Capability.TRIAL_RUN):
        message = (
            f"`{type(strategy).__name__}` can't take optimizer steps back, which trying batch sizes or learning rates "
            "needs. Try it with another strategy, or in a loop of your own over `Trainer(max_steps=...)`."
        )
        raise MisconfigurationException(message)
    hooks = HookPlan(run.job.recorder)
    hooks.resolve(trainer, [], module=run.job.module, datamodule=run.job.datamodule)
    job = replace(run.job, callbacks=[], loggers=[], profiler=None, hooks=hooks, limits=RunLimits())
    loaders = {"train": run.data.loaders.source, "val": run.validation.run.loaders.source}
    trial = new_fit_run(job, **loaders, progress=FitProgress())
    job.signals.on_signal = run.requests.wake  # signals are still the run's
    accumulation = run.optimization.accumulation
    trial.optimization = Optimization(strategy, optimizers=run.optimization.optimizers, accumulation=accumulation)
    use_optimizers(trial, run.optimization.optimizers)
    return trial


@contextmanager
def _taken_back(trial: FitRun) -> Iterator[None]:
    """Return a context that leaves module, optimizers, precision and random states as they were before."""
    job = trial.job
    model, precision, recorder = job.model, job.runtime.precision, job.recorder
    weights = _Weights(model)
    optimizers = [(optimizer, deepcopy(optimizer.state_dict())) for optimizer in trial.optimization.optimizers]
    precision_state, results, hook, stage = precision.state_dict(), recorder.results, recorder.hook, job.state.stage
    try:
        with isolate_rng(), isolated_metrics(model), torch.enable_grad():
            yield
    finally:
        recorder.results, recorder.hook, job.state.stage = results, hook, stage
        recorder.end_batches()
        job.board.clear()
        weights.put_back()
        for optimizer, state in optimizers:
            optimizer.load_state_dict(state)
        precision.load_state_dict(precision_state)


def _steps(trial: FitRun, steps: int) -> Generator[Tensor, None, None]:
    """Train, and return after each optimizer step the loss of its last micro-batch, on the device."""
    job = trial.job
    job.state.stage, job.recorder.results = RunningStage.TRAINING, trial.results
    trial.data.load(job.runtime.strategy, epoch=0)
    generators = _generators(trial)
    states = capture_generators(generators)
    try:
        job.hooks.notify("on_train_start")
        yield from islice(_epochs(trial), steps)
    finally:
        restore_generators(generators, states)


def _epochs(trial: FitRun) -> Iterator[Tensor]:
    """Train on epoch after epoch; gives a loss per optimizer step."""
    trial.train_on = kept = _KeepsOutputs(trial.train_on)
    transfer = transfer_function(trial.job, hands_over=trial.data.loaders.rules.hands_over)
    while trial.data.num_batches > 0:
        trial.progress.start_epoch()
        trial.data.loaders.set_epoch(trial.progress.epochs_completed)
        trial.job.hooks.notify("on_train_epoch_start")
        for batch, batch_idx, _, is_last in trial.data.remaining_steps():
            trial.progress.is_last_batch = is_last
            train_batch(trial, batch, batch_idx=batch_idx, transfer=transfer)
            if trial.optimization.window is None:  # also after a step that was skipped: it was tried
                yield _loss(kept.outputs)
        trial.data.end_epoch(is_exhausted=True)
        trial.progress.epochs_completed += 1


class _Weights:
    """What a module's parameters and buffers held, this rank's part of them."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._parameters = [(parameter, parameter.detach().clone()) for parameter in model.parameters()]
        self._buffers = [
            (module, name, buffer.detach().clone())
            for module in model.modules()
            for name, buffer in module._buffers.items()
            if buffer is not None
        ]

    @torch.no_grad()
    def put_back(self) -> None:
        """Let them hold it again, without gradients."""
        for parameter, kept in self._parameters:
            parameter.copy_(kept)
            parameter.grad = None
        for module, name, kept in self._buffers:
            current = module._buffers[name]
            if current is not None and current.shape == kept.shape:
                current.copy_(kept)
            else:
                module._buffers[name] = kept


class _KeepsOutputs:
    """Trains on batches as another does, and keeps what the training step returned."""

    def __init__(self, train_on: BatchStep) -> None:
        self._train_on = train_on
        self.outputs: Any = None

    @property
    def stepped(self) -> bool:
        return self._train_on.stepped

    @stepped.setter
    def stepped(self, stepped: bool) -> None:
        self._train_on.stepped = stepped

    def __call__(self, batch: Any, batch_idx: int) -> Any:
        self.outputs = self._train_on(batch, batch_idx)
        return self.outputs


def _loss(outputs: Any) -> Tensor:
    """Return the loss, NaN where the training step gave none (as it may in manual optimization)."""
    loss = outputs if isinstance(outputs, Tensor) or outputs is None or "loss" in outputs else None
    found = loss_of(loss)
    return torch.tensor(float("nan")) if found is None else found.detach()


def _generators(trial: FitRun) -> list[Any]:
    """Return the random generators of the loaders, which the run's own loaders may share."""
    combined = trial.data.loaders.combined
    loaders = [] if combined is None else combined.flattened
    return [generator for loader in loaders for generator in owned_generators(loader)]
