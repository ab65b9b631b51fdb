"""A batch on its way to the device."""

from collections.abc import Callable
from typing import Any

from lt_core.hook_plan import overrides
from lt_core.run.job import Job
from lt_interfaces.moving import move_data_to_device
from lt_interfaces.rank_zero import WarningCache

_warned = WarningCache()

_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


def transfer_function(job: Job, *, hands_over: bool = False) -> Callable[[Any, int], Any]:
    """Return the function that brings a batch to the device: ``transfer(batch, dataloader_idx)``.

    The transfer hooks are called only where somebody overrides them; the datamodule's win over the module's. A step
    that takes batches itself moves them itself.
    """
    if hands_over:
        return lambda iterator, dataloader_idx: iterator
    device = job.runtime.strategy.root_device
    convert = job.runtime.precision.convert_input
    before, move, after = (_owned(job, name) for name in _HOOKS)
    if before is None and move is None and after is None:
        return lambda batch, dataloader_idx: move_data_to_device(convert(batch), device)

    def transfer(batch: Any, dataloader_idx: int) -> Any:
        batch = convert(batch)
        if before is not None:
            batch = before(batch, dataloader_idx)
        batch = move_data_to_device(batch, device) if move is None else move(batch, device, dataloader_idx)
        return batch if after is None else after(batch, dataloader_idx)

    return transfer


def _owned(job: Job, name: str) -> Callable[..., Any] | None:
    """Return the hook of whoever overrides it, the datamodule first."""
    by_module = overrides(job.module, name)
    by_data = job.datamodule is not None and overrides(job.datamodule, name)
    if by_module and by_data:
        _warned.warn(f"Both the module and the datamodule override `{name}`; the datamodule's is used.")
    elif by_module and job.datamodule is not None:
        _warned.warn(f"`{name}` is overridden in the module only, so it's used beside the datamodule.")
    if not by_module and not by_data:
        return None
    method: Callable[..., Any] = getattr(job.datamodule if by_data else job.module, name)

    def within(*args: Any) -> Any:
        outer, job.recorder.hook = job.recorder.hook, name
        try:
            return method(*args)
        finally:
            job.recorder.hook = outer

    return within
