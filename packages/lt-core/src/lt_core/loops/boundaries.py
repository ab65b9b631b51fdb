"""What happens at a step boundary: requests from outside, which all ranks honour at the same one.

Ranks tell each other of signals, stop requests, wanted checkpoints and first step values by flags that nobody waits
for: what some of them raised is known to all one boundary later. What all of them raised at the same boundary is
honoured right there, as by one process.
"""

from collections.abc import Sequence
from typing import Final

import torch

from lt_core.logging.publication import has_shared_steps
from lt_core.run.fit_run import FitRun
from lt_core.run.preemption import save_preempted
from lt_core.run.requests import SaveRequest
from lt_fabric.gathering import gather_objects
from lt_interfaces.errors import SIGTERMException
from lt_interfaces.rank_zero import rank_zero_info

_END, _REQUEUE, _STOP, _SAVE, _LOG = range(5)
_NONE: Final = (False,) * 5


def agree_at_boundary(run: FitRun) -> None:
    """Tell the other ranks what was asked for here, and take over what they agreed on. Collective, without waiting."""
    agreement = run.requests.agreement
    exchange = None if agreement is None else agreement.exchange
    if exchange is None or run.optimization.window is not None:
        return
    # Whoever asks for something wakes the loop; all else that has a flag is step values.
    flags = _flags(run) if run.requests.is_pending or run.results.logs_steps else _NONE
    known = exchange.exchange(flags)
    if known is None:
        return
    if any(flags):
        world_size = run.job.runtime.strategy.world_size
        known = [max(count, now * (now == world_size)) for count, now in zip(known, exchange.settle(), strict=True)]
    if any(known):
        _take_over(run, known)


def agree_now(run: FitRun) -> None:
    """The same where ranks wait for each other anyway: at the end of an epoch or a validation. Collective."""
    if run.requests.agreement is None:
        return
    strategy = run.job.runtime.strategy
    flags = torch.tensor(_flags(run), dtype=torch.float32, device=strategy.root_device)
    known = strategy.reduce(flags, op="max").tolist()
    if any(known):
        _take_over(run, known)


def honour(run: FitRun) -> bool:
    """Write the checkpoints that were asked for from outside; say whether to stop, never in mid-window.

    Raises:
        SIGTERMException: when the job was told to end; a checkpoint is committed then.
        OSError: what went wrong with an asynchronous save.
    """
    run.job.runtime.checkpoint_io.poll()
    within_window = run.optimization.window is not None
    is_shared = run.requests.agreement is not None
    if run.may_save and not (is_shared and within_window):
        write_requested(run)
    signals = run.job.signals
    if (signals.is_agreed if is_shared else signals.is_told_to_end) and not within_window:
        _end(run)
    return run.requests.stop and not within_window and may_stop(run)


def write_requested(run: FitRun) -> None:
    """Write the checkpoints that were asked for; with several ranks, those that any of them asked for."""
    for wanted in _wanted_saves(run):
        run.job.save(wanted.path, wanted.weights_only, wanted.storage_options)


def may_stop(run: FitRun) -> bool:
    """Say whether a stop request may be honoured now, or ``min_epochs`` or ``min_steps`` is still ahead."""
    limits, progress = run.job.limits, run.progress
    if progress.epochs_processed >= limits.min_epochs and progress.global_step >= limits.min_steps:
        return True
    if not run.requests.told_of_minimum:
        run.requests.told_of_minimum = True
        rank_zero_info(
            f"A stop was requested, but `min_epochs={limits.min_epochs}` or `min_steps={limits.min_steps}` isn't"
            " reached; training goes on until it is."
        )
    return False


def _flags(run: FitRun) -> list[bool]:
    signals, requests = run.job.signals, run.requests
    return [
        signals.received_sigterm,
        signals.received_requeue,
        requests.is_stop_wanted and not requests.stop,
        requests.has_saves,
        requests.agreement is not None and not requests.agreement.covers_step_values and has_shared_steps(run.results),
    ]


def _take_over(run: FitRun, counts: Sequence[int | float]) -> None:
    """Honour at this boundary what the ranks agreed on."""
    signals, requests = run.job.signals, run.requests
    requests.is_pending = any(counts[:_LOG]) or requests.is_pending
    if counts[_END] or counts[_REQUEUE]:
        signals.is_agreed = True
        signals.received_sigterm = signals.received_sigterm or bool(counts[_END])
        signals.received_requeue = signals.received_requeue or bool(counts[_REQUEUE])
    requests.stop = requests.stop or bool(counts[_STOP])
    if requests.agreement is not None:
        requests.agreement.covers_saves = bool(counts[_SAVE])
        requests.agreement.covers_step_values |= bool(counts[_LOG])


def _wanted_saves(run: FitRun) -> list[SaveRequest]:
    requests, own = run.requests, []
    agreement = requests.agreement
    if agreement is not None and not agreement.covers_saves:
        return []  # other ranks don't know of them yet
    wanted = requests.take_save()
    while wanted is not None:
        own.append(wanted)
        wanted = requests.take_save()
    if agreement is None:
        return own
    agreement.covers_saves = False
    named = [(str(one.path), one.weights_only) for one in own]
    everybody = [tuple(one) for rank in gather_objects(run.job.runtime.strategy, named) for one in rank]
    options = {str(one.path): one.storage_options for one in own}
    return [SaveRequest(path, weights, options.get(path)) for path, weights in dict.fromkeys(everybody)]


def _end(run: FitRun) -> None:
    """Commit a checkpoint, put the job into the queue again where that's wanted, and end.

    Raises:
        SIGTERMException: always.
    """
    job = run.job
    path = save_preempted(job)
    saved = f"a checkpoint was saved: {path}" if path is not None else "no checkpoint was saved, as that's switched off"
    if job.signals.received_requeue:
        rank_zero_info(f"The scheduler announced the end of this job; {saved}. Asking it to queue the job again.")
        if job.runtime.strategy.is_global_zero:
            job.runtime.environment.requeue()
    else:
        rank_zero_info(f"Told to end by a signal; {saved}.")
    raise SIGTERMException
