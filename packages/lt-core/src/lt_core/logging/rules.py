"""The rules of `self.log`: checked once per name and hook, at the first call."""

from typing import Any

import torch

from lt_core.logging.slots import LogOptions, Reduction, SlotNames, SlotRule
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.hooks import BY_NAME, LogRule

_REDUCTIONS: dict[Any, Reduction] = {
    "mean": "mean",
    "avg": "mean",
    "sum": "sum",
    "min": "min",
    "max": "max",
    # Python's own, which code for Lightning passes too
    sum: "sum",
    min: "min",
    max: "max",
    torch.mean: "mean",
    torch.sum: "sum",
    torch.min: "min",
    torch.amin: "min",
    torch.max: "max",
    torch.amax: "max",
}


def log_rule(hook: str | None) -> LogRule:
    """Return the rule of the hook that runs now.

    Raises:
        MisconfigurationException: where logging isn't allowed.
        RuntimeError: for a hook that isn't in the table.
    """
    if hook is None:
        message = "`self.log` was called outside of a hook, where it belongs to no step and no epoch."
        raise MisconfigurationException(message)
    if hook not in BY_NAME:
        message = f"`self.log` was called in `{hook}`, which isn't in the table of hooks."
        raise RuntimeError(message)
    rule = BY_NAME[hook].log
    if rule is None:
        allowed = sorted(name for name, row in BY_NAME.items() if row.log is not None)
        message = f"`self.log` can't be used in `{hook}`. It's allowed in {allowed}."
        raise MisconfigurationException(message)
    return rule


def slot_rule(hook: str | None, name: str, *, options: LogOptions, dataloader_idx: int | None) -> SlotRule:
    """Resolve the arguments of a first `self.log` call in a hook.

    Args:
        hook: the one that runs now.
        name: the metric's name.
        options: as given.
        dataloader_idx: which of several loaders is being evaluated; ``None`` for a single one.

    Raises:
        MisconfigurationException: for arguments that don't go together or aren't allowed in this hook.
    """
    rule = log_rule(hook)
    _check_name(name, options)
    on_step, on_epoch = _when(hook, rule, options)
    indexed = dataloader_idx is not None and options.add_dataloader_idx
    return SlotRule(
        names=_names(name, on_step and on_epoch, f"/dataloader_idx_{dataloader_idx}" if indexed else ""),
        on_step=on_step,
        on_epoch=on_epoch,
        reduction=_reduction(name, options.reduce_fx),
        prog_bar=options.prog_bar,
        logger=options.logger is None or bool(options.logger),
        rank_zero_only=options.rank_zero_only,
    )


def _check_name(name: str, options: LogOptions) -> None:
    if not isinstance(name, str) or not name:
        message = f"`self.log(name, value)` takes a non-empty string as `name`, but got {name!r}."
        raise MisconfigurationException(message)
    if options.add_dataloader_idx and "/dataloader_idx_" in name:
        message = (
            f"`self.log({name!r}, ...)`: the ending `/dataloader_idx_<n>` is added for you. Leave it out of the name,"
            " or pass `add_dataloader_idx=False`."
        )
        raise MisconfigurationException(message)


def _when(hook: str | None, rule: LogRule, options: LogOptions) -> tuple[bool, bool]:
    """Return whether a value counts per step and per epoch."""
    on_step = rule.on_step if options.on_step is None else bool(options.on_step)
    on_epoch = rule.on_epoch if options.on_epoch is None else bool(options.on_epoch)
    if rule.fixed and (on_step, on_epoch) != (rule.on_step, rule.on_epoch):
        message = (
            f"`self.log` in `{hook}` takes only `on_step={rule.on_step}` and `on_epoch={rule.on_epoch}`, but got"
            f" `on_step={on_step}` and `on_epoch={on_epoch}`."
        )
        raise MisconfigurationException(message)
    if not on_step and not on_epoch:
        message = f"`self.log` in `{hook}` got `on_step=False` and `on_epoch=False`, so nothing would be logged."
        raise MisconfigurationException(message)
    return on_step, on_epoch


def _reduction(name: str, reduce_fx: Any) -> Reduction:
    key = reduce_fx.lower() if isinstance(reduce_fx, str) else reduce_fx
    found = _REDUCTIONS.get(key) if isinstance(key, str) or callable(key) else None
    if found is None:
        message = (
            f"`self.log({name!r}, ..., reduce_fx={reduce_fx!r})`: accepted are 'mean', 'sum', 'min', 'max' and torch's"
            " functions of these names. For anything else log a metric object."
        )
        raise MisconfigurationException(message)
    return found


def _names(name: str, forked: bool, suffix: str) -> SlotNames:
    if not forked:
        return SlotNames(name + suffix, name + suffix, name + suffix)
    return SlotNames(name + suffix, f"{name}_step{suffix}", f"{name}_epoch{suffix}")
