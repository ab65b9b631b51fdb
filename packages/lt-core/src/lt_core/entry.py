"""An entry point from its first line to its last: prologue, the stage itself, epilogue, and what a failure does."""

import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from torch import nn

from lt_core.checkpointing.report import RestoreReport
from lt_core.checkpointing.restore import restored
from lt_core.compiled import compiled_steps
from lt_core.run.fit_run import EvaluationRun, FitRun
from lt_core.run.job import Job
from lt_core.run.signals import Signals
from lt_core.torch_flags import torch_flags
from lt_fabric.runtime import set_up_process, tear_down_process
from lt_interfaces.errors import SIGTERMException
from lt_interfaces.launcher import Launcher
from lt_interfaces.plain_values import to_stored
from lt_interfaces.rank_zero import rank_zero_info
from lt_interfaces.roles import Role
from lt_interfaces.states import TrainerFn, TrainerStatus

Result = TypeVar("Result")
Run = FitRun | EvaluationRun


def entrance(job: Job) -> Callable[..., Any]:
    """Return what runs an entry point in every process of the job: ``entrance(job)(body, run, **kwargs)``.

    Where no process has to be started it's `run_guarded` itself, so that nothing lies in between.
    """
    launcher = job.runtime.strategy.launcher
    if launcher is None:
        return run_guarded
    if launcher.returns_results:
        return partial(launcher.launch, run_guarded)
    return partial(_run_elsewhere, launcher)


def run_guarded(body: Callable[..., Result], run: Run, **kwargs: Any) -> Result:
    """Run an entry point in this process; whatever happens, everybody hears of the end.

    Raises:
        SystemExit: with code 1 after a KeyboardInterrupt.
    """
    job = run.job
    job.state.status = TrainerStatus.RUNNING
    # Heard until hooks have run: who started this job's processes sends SIGTERM to all when one has failed.
    with job.signals.heard(job.runtime.environment.requeue_signal):
        try:
            with torch_flags(job.specs.optimization), compiled_steps(job.module, job.compile_method):
                result: Result = body(run, **kwargs)
        except BaseException as exception:
            failure = _announced(run, exception)
            _interrupt(job, failure)
            if isinstance(failure, KeyboardInterrupt):
                rank_zero_info("Interrupted from the keyboard; everything was shut down.")
                sys.exit(1)
            if failure is exception:
                raise
            raise failure from None  # what this rank raised only follows from it
    job.state.status = TrainerStatus.FINISHED
    job.state.stage = None
    return result


def _run_elsewhere(launcher: Launcher, body: Callable[..., Result], run: Run, **kwargs: Any) -> Result:
    """Run an entry point in processes that are started for it, and bring home what they leave."""
    job, listening = run.job, Signals()
    listening.on_signal = partial(_pass_on, launcher, os.getpid())
    job.state.status = TrainerStatus.RUNNING
    _settle_versions(job)  # here, where they're asked for later; the processes take them over
    try:
        with listening.heard(job.runtime.environment.requeue_signal):
            result, state = launcher.launch(_run_and_report, body, run, **kwargs)
    except BaseException as exception:
        job.state.status = TrainerStatus.INTERRUPTED
        job.state.stage = None
        if isinstance(exception, KeyboardInterrupt):
            sys.exit(1)
        raise
    # Loaded with processes to start alone: `import lt_core` keeps within its budget of modules.
    from lt_core.checkpointing.homecoming import come_home

    come_home(run, state)
    job.state.status = TrainerStatus.FINISHED
    returned: Result = result
    return returned


def _pass_on(launcher: Launcher, pid: int, signum: int) -> None:
    """Pass a signal on to the processes that work for this one; a forked one, which has this handler too, doesn't."""
    if os.getpid() == pid:
        launcher.kill(signum)


def _run_and_report(body: Callable[..., Result], run: Run, **kwargs: Any) -> tuple[Result, dict[str, Any]]:
    """Run in a process started for it; returns with the result what the caller's process shall know afterwards."""
    run.job.hooks.resume()
    result = run_guarded(body, run, **kwargs)
    # see `_run_elsewhere`
    from lt_core.checkpointing.homecoming import state_to_bring_home

    return result, state_to_bring_home(run)


def _announced(run: Run, exception: BaseException) -> BaseException:
    """Tell the other ranks of a failure, before anything else; returns what this rank is to raise."""
    job = run.job
    if job.signals.is_agreed and isinstance(exception, SIGTERMException):
        return exception  # all ranks end here, and that's no failure
    strategy = job.runtime.strategy
    failure = strategy.announce_failure(exception, step=getattr(run.progress, "global_step", None))
    if strategy.world_size > 1 and isinstance(failure, SystemExit) and not failure.code:
        return SystemExit(1)  # a rank that leaves in the middle ends the job, and nobody may take that for success
    return failure


def prepare(job: Job) -> tuple[nn.Module, tuple[dict[str, Any], RestoreReport] | None]:
    """Set up this process, the data and the module.

    Returns:
        The module in its precision, with the weights of the checkpoint; and the checkpoint, if there's one, with what
        was restored from it so far. Both come later where the strategy has to place the module before.
    """
    runtime = job.runtime
    if runtime.strategy.world_size > 1:
        _settle_versions(job)
    set_up_process(runtime)
    if job.profiler is not None:
        local_rank = runtime.strategy.local_rank if runtime.strategy.world_size > 1 else None
        job.profiler.setup(job.fn.value, local_rank, _log_dir(job))
    _prepare_data(job)
    runtime.strategy.barrier("before setup", patient=True)  # whoever prepares data may take its time
    job.hooks.notify("setup", job.fn.value)
    runtime.strategy.barrier("after setup")
    with runtime.strategy.init_context(), runtime.precision.module_init_context():
        job.module.configure_model()
    converted = runtime.precision.convert_module(job.model)  # before weights come, which would be rounded otherwise
    return converted, None if runtime.strategy.restores_after_setup else restored(job)


def log_hyperparameters(job: Job) -> None:
    """Tell the loggers of the hyper-parameters and the module.

    Raises:
        RuntimeError: when the module and the datamodule give different values to one name.
    """
    if not job.loggers or not job.specs.logging.enable_autolog_hparams:
        return
    hparams = _merged_hyperparameters(job)
    for logger in job.loggers:
        if hparams:
            logger.log_hyperparams(hparams)
        logger.log_graph(job.module)
        logger.save()


def check_hyperparameters(job: Job) -> None:
    """Refuse hyper-parameters that a checkpoint couldn't hold, before the first step is taken."""
    if any(getattr(callback, "role", None) is Role.CHECKPOINT for callback in job.callbacks):
        for owner in (job.module, job.datamodule):
            hparams = getattr(owner, "hparams", None)
            if isinstance(hparams, Mapping):
                to_stored(dict(hparams), "hyper_parameters")


def finish(job: Job) -> None:
    """End a stage that went well: hooks hear of it while the module still stands on its device."""
    job.recorder.results = None
    if job.fn is TrainerFn.FITTING:
        job.hooks.notify("on_fit_end")
    leave(job)


def leave(job: Job) -> None:
    """Let go of what was set up for a stage, when all went well."""
    job.hooks.notify("teardown", job.fn.value)
    for logger in job.loggers:
        logger.finalize("success")
    _close(job)


def _interrupt(job: Job, exception: BaseException) -> None:
    """End a stage that failed: hooks, loggers and the process, whatever else goes wrong on the way."""
    job.state.status = TrainerStatus.INTERRUPTED
    job.recorder.hook = None
    hearers = job.hooks.hearers
    endings: list[Callable[[], Any]] = [
        *(partial(hear, exception) for hear in hearers["on_exception"]),
        *(partial(logger.finalize, "failed") for logger in job.loggers),
        *(partial(hear, job.fn.value) for hear in hearers["teardown"]),
        partial(_close, job),
    ]
    for ending in endings:
        try:
            ending()
        except Exception as further:  # the first failure is the one to show; others are told beside it
            exception.add_note(f"While shutting down, also: {type(further).__name__}: {further}")
    job.recorder.results = None
    job.state.stage = None


def _close(job: Job) -> None:
    if job.profiler is not None:
        job.profiler.describe()
        job.profiler.teardown(job.fn.value)
    tear_down_process(job.runtime)


def _settle_versions(job: Job) -> None:
    """Let every logger find its version while no rank has made a folder yet: later, each would find another one."""
    for logger in job.loggers:
        _ = logger.version


def _prepare_data(job: Job) -> None:
    """Let the datamodule and the module prepare data: once per node, or once per job, while others wait."""
    strategy = job.runtime.strategy
    owner = job.datamodule if job.datamodule is not None else job.module
    per_node = getattr(owner, "prepare_data_per_node", True)
    if strategy.local_rank == 0 if per_node else strategy.is_global_zero:
        job.hooks.notify("prepare_data")


def _log_dir(job: Job) -> str | None:
    folders = (logger.log_dir or logger.save_dir for logger in job.loggers)
    return next((folder for folder in folders if folder), job.specs.saving.default_root_dir)


def _merged_hyperparameters(job: Job) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for owner in (job.module, job.datamodule):
        if owner is None or not getattr(owner, "_log_hyperparams", False):
            continue
        own = {name: value for name, value in dict(owner.hparams_initial).items() if name != "_class_path"}
        differing = [name for name in own.keys() & merged.keys() if not _equal(own[name], merged[name])]
        if differing:
            message = (
                f"The module and the datamodule give different values to the hyper-parameters {sorted(differing)}."
                " Rename one of each, or call `save_hyperparameters(logger=False)` in one of the two."
            )
            raise RuntimeError(message)
        merged |= own
    return merged


def _equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except (RuntimeError, TypeError, ValueError):  # tensors and arrays compare element by element
        return one is other
