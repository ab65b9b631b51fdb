"""The checkpoint of a run that is told to end: where it goes, and where the next start of the job finds it."""

import re
from typing import Final

from lt_core.run.job import Job
from lt_interfaces.roles import Role

PREEMPTED: Final = "preempted.ckpt"
"""Name of the file that a run leaves when a signal ends it; ``ckpt_path="last"`` finds it."""
HPC: Final = re.compile(r"hpc_ckpt_(\d+)\.ckpt$")
"""Names of the files from which a job goes on that its scheduler has put into the queue again."""


def save_preempted(job: Job) -> str | None:
    """Save a checkpoint, wait until it's committed, and return where it is; ``None`` where saving is off. Collective.

    A job that's queued again takes ``hpc_ckpt_<n>.ckpt`` in ``default_root_dir``, with the next number; any other
    `PREEMPTED` in the folder of the first checkpoint callback, or in ``default_root_dir`` without one.
    """
    if not job.signals.received_requeue and _is_switched_off(job):
        return None
    path = job.runtime.strategy.broadcast(_path(job))  # the folder's content may look different elsewhere by now
    job.save(path, False, None)
    job.runtime.checkpoint_io.teardown()  # a save in the background has to be on disk before the process goes
    job.runtime.strategy.barrier("save_preempted")
    return str(path)


def _is_switched_off(job: Job) -> bool:
    specs = job.specs
    return specs.saving.enable_checkpointing is False or specs.barebones or bool(specs.limits.fast_dev_run)


def _path(job: Job) -> str:
    root = job.specs.saving.default_root_dir
    if job.signals.received_requeue:
        names = (re.split(r"[/\\]", found.path)[-1] for found in job.runtime.checkpoint_io.stored(root))
        stored = map(HPC.match, names)
        taken = max((int(match[1]) for match in stored if match is not None), default=0)
        return f"{root}/hpc_ckpt_{taken + 1}.ckpt"
    savers = (one for one in job.callbacks if getattr(one, "role", None) is Role.CHECKPOINT)
    folder = next((str(one.dirpath) for one in savers if getattr(one, "dirpath", None)), root)
    return f"{folder.rstrip('/')}/{PREEMPTED}"
