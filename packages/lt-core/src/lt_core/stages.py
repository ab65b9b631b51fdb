"""The stages of the Trainer, as every process of the job runs them: fit, validate, test, predict."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn

from lt_core.checkpointing.restore import restore_training, restored
from lt_core.configured_optimizers import configured_optimizers
from lt_core.entry import check_hyperparameters, finish, leave, log_hyperparameters, prepare
from lt_core.evaluation_table import results_table
from lt_core.hook_plan import overrides
from lt_core.loops.evaluation import evaluate, gradient_mode, new_evaluation, sanity_check
from lt_core.loops.prediction import predict
from lt_core.loops.stepping import AutomaticStep, ManualStep, Stepping, take_optimizer_step
from lt_core.loops.training import fit, is_done
from lt_core.optimizer import LightningOptimizer
from lt_core.run.fit_run import EvaluationRun, FitRun
from lt_core.run.job import Job
from lt_core.run.optimization import Optimization
from lt_core.specs.validation_schedule import plan_validation
from lt_core.toggling import toggle, untoggle
from lt_fabric.data.shared_order import data_share
from lt_interfaces.errors import EndOfFit
from lt_interfaces.rank_zero import rank_zero_warn
from lt_interfaces.states import RunningStage, TrainerFn


def fit_in_process(run: FitRun) -> None:
    """Fit, from setting up this process to tearing it down."""
    job = run.job
    check_hyperparameters(job)
    converted, found = prepare(job)
    _set_up_training(run, converted)
    if job.runtime.strategy.restores_after_setup:
        found = restored(job, run.optimization.optimizers)
    try:
        job.hooks.notify("on_fit_start")
    except EndOfFit:
        leave(job)
        return
    log_hyperparameters(job)
    job.module.zero_grad()
    if found is not None:
        restore_training(run, *found)
    if _has_something_to_train(run):
        with torch.autograd.set_detect_anomaly(job.specs.optimization.detect_anomaly), _counted_once(job):
            _load_data(run)
            if run.data.num_batches > 0:
                fit(run)
    finish(job)


def evaluate_in_process(run: EvaluationRun, *, x_axis: int, epoch: int, verbose: bool) -> list[dict[str, float]]:
    """Validate or test, from setting up this process to tearing it down; returns each loader's metrics."""
    job = run.job
    _set_up_evaluation(job)
    new_evaluation(run)
    if run.loaders.rules.limit == 0:
        finish(job)
        return []
    run.loaders.load(job.runtime.strategy, epoch)
    run.loaders.set_epoch(epoch)
    with gradient_mode(job), _counted_once(job):
        outputs = evaluate(run, stage_of(job.fn), x_axis=x_axis, epoch=epoch)
    if verbose and job.runtime.strategy.is_global_zero:
        print(results_table(job.fn.value, outputs))  # noqa: T201  # the table is the result
    finish(job)
    return outputs


def predict_in_process(run: EvaluationRun, *, epoch: int, keep: bool, gather: bool) -> list[list[Any]]:
    """Predict, from setting up this process to tearing it down; returns each loader's outputs."""
    job = run.job
    _set_up_evaluation(job)
    if run.loaders.rules.limit == 0:
        finish(job)
        return [[]]
    run.loaders.load(job.runtime.strategy, epoch)
    run.loaders.set_epoch(epoch)
    with gradient_mode(job), _counted_once(job):
        outputs = predict(run, keep=keep, gather=gather)
    finish(job)
    return outputs


def _set_up_training(run: FitRun, converted: nn.Module) -> None:
    """Place the module, make its optimizers, and decide how a batch is trained on."""
    module, strategy = run.job.module, run.job.runtime.strategy
    schedulers: list[Any] = []

    def make_optimizers() -> list[torch.optim.Optimizer]:
        configured = configured_optimizers(
            module.configure_optimizers(),
            automatic=module.automatic_optimization,
            overrides_scheduler_step=overrides(module, "lr_scheduler_step"),
        )
        schedulers.extend(configured.schedulers)
        return configured.optimizers

    _, optimizers = strategy.setup(converted, make_optimizers)
    accumulation = run.optimization.accumulation
    run.optimization = Optimization(strategy, optimizers=optimizers, schedulers=schedulers, accumulation=accumulation)
    use_optimizers(run, optimizers)


def use_optimizers(run: FitRun, optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Let the run step these optimizers from now on (from the next epoch, if one is going on)."""
    run.optimization.optimizers = list(optimizers)
    run.progress.steps.extend([0] * (len(optimizers) - len(run.progress.steps)))
    stepping = Stepping(run.job, run.optimization, run.progress)
    run.optimization.proxies = [
        # partial is C code: no frame of its own lies between the optimizer and the step.
        LightningOptimizer.wrap(
            optimizer, partial(take_optimizer_step, stepping, idx), toggle=partial(_toggled, run, optimizer)
        )
        for idx, optimizer in enumerate(optimizers)
    ]
    if run.job.module.automatic_optimization:
        run.train_on = AutomaticStep(run.job, stepping, run.data)
    else:
        run.train_on = ManualStep(run.job)


@contextmanager
def _toggled(run: FitRun, optimizer: torch.optim.Optimizer, sync_grad: bool) -> Iterator[None]:
    """Let only this optimizer's parameters require grad, without synchronising gradients if that's not wanted."""
    before = toggle(run.optimization.optimizers, optimizer)
    try:
        with run.job.runtime.strategy.no_backward_sync(run.job.model, enabled=not sync_grad):
            yield
    finally:
        untoggle(before)


def _warn_if_nothing_is_logged(run: FitRun) -> None:
    specs, batches = run.job.specs, run.data.num_batches
    every = specs.logging.log_every_n_steps
    if run.job.loggers and batches < every and not specs.limits.fast_dev_run:
        rank_zero_warn(
            f"There are {batches} training batches per epoch and `log_every_n_steps={every}`, so step values are rarely"
            " logged. Set it lower to see them."
        )


def _set_up_evaluation(job: Job) -> None:
    converted, _ = prepare(job)
    strategy = job.runtime.strategy
    strategy.setup(converted, None)
    if strategy.restores_after_setup:
        restored(job)
    log_hyperparameters(job)
    job.module.zero_grad()


def _counted_once(job: Job) -> AbstractContextManager[None]:
    """Return the context in which metric objects count samples once that several ranks have."""
    strategy = job.runtime.strategy
    if data_share(strategy).count == strategy.world_size:
        return nullcontext()
    # Loaded with such strategies alone: `import lt_core` keeps within its budget of modules.
    from lt_core.logging.metric_groups import metrics_over_samples

    return metrics_over_samples(job.module, strategy)


def _has_something_to_train(run: FitRun) -> bool:
    """Say whether there's an epoch to train, before any data is loaded."""
    return run.data.loaders.rules.limit != 0 and not is_done(run)


def _load_data(run: FitRun) -> None:
    """Try validation, then get the training data and, if the first epoch validates, the validation data."""
    job, validation = run.job, run.validation
    strategy, epoch = job.runtime.strategy, run.progress.epochs_completed
    if validation.is_wanted and job.specs.evaluation.num_sanity_val_steps > 0:
        sanity_check(run)
    job.state.stage = RunningStage.TRAINING
    if run.data.loaders.is_stale(epoch):  # unless `estimated_stepping_batches` was asked for
        run.data.load(strategy, epoch)
    run.data.adapt(run.progress, strategy)
    if run.data.num_batches == 0:
        rank_zero_warn(f"{run.data.loaders.source.label} gave an empty loader: there's no batch to train on.")
        return
    validation.schedule = plan_validation(
        job.specs.evaluation,
        run.data.num_batches,
        has_length=run.data.loaders.is_sized,
        has_validation=validation.is_wanted,
    )
    _warn_if_nothing_is_logged(run)
    run.data.loaders.set_epoch(run.progress.epochs_processed)
    if not run.data.is_resumed and run.progress.batches_in_epoch == 0:
        run.data.start()
    covered = validation.schedule.covers_epoch(epoch)
    if validation.is_wanted and covered and validation.run.loaders.is_stale(epoch):
        validation.run.loaders.load(strategy, epoch)


def stage_of(fn: TrainerFn) -> RunningStage:
    """Return the stage that an evaluating entry point runs."""
    return RunningStage.VALIDATING if fn is TrainerFn.VALIDATING else RunningStage.TESTING
