"""The arguments ``devices`` and ``num_nodes``: which devices, and no more processes than there's a strategy for."""

import os
import sys

import torch

from lt_fabric.hardware import HardwareSpec
from lt_interfaces import Accelerator, Capability, ClusterEnvironment, MisconfigurationException, Strategy, plugins
from lt_interfaces.errors import missing_package
from lt_interfaces.rank_zero import rank_zero_info, rank_zero_warn


def choose_devices(
    hardware: HardwareSpec,
    accelerator: Accelerator,
    *,
    environment: ClusterEnvironment,
    strategy: Strategy | None,
) -> tuple[torch.device, ...]:
    """Return the devices of this node, in order of local rank.

    Args:
        hardware: the user's arguments.
        accelerator: whose devices.
        environment: asked how many processes somebody else has started.
        strategy: the one asked for; ``None``: it will be chosen by the number of devices.

    Raises:
        MisconfigurationException: several processes with a strategy for one.
        MissingPackageError: several processes without lt-strategies.
    """
    if strategy is None:
        is_several_possible = plugins.is_installed("strategies", "ddp")
    else:
        is_several_possible = strategy.supports(Capability.SEVERAL_PROCESSES)
    if hardware.devices == "auto":
        count = _automatic_count(accelerator, strategy, is_several_possible=is_several_possible)
        if is_several_possible:
            count = max(count, _started_per_node(environment, accelerator, num_nodes=hardware.num_nodes))
        devices = accelerator.parse_devices(count)
    else:
        devices = accelerator.parse_devices(hardware.devices)
    if not is_several_possible:
        # A strategy asked for by name may train in each process alone.
        started = started_processes(environment) if strategy is None else 1
        reason = _reason_for_several(hardware, num_devices=len(devices), world_size=started)
        _refuse_several(reason, strategy)
    return tuple(devices)


def is_interactive() -> bool:
    """Say whether this is a notebook or an interactive shell, where no script can be run again."""
    return hasattr(sys, "ps1")


def _automatic_count(accelerator: Accelerator, strategy: Strategy | None, *, is_several_possible: bool) -> int:
    """Return what ``devices="auto"`` stands for, and say so where it's fewer than the machine has."""
    count = accelerator.auto_device_count()
    what = f"This machine has {count} {accelerator.name} devices"
    if count > 1 and not is_several_possible:
        if strategy is None:  # a strategy for one device that was asked for needs no warning
            line = plugins.install_line("strategies", "ddp")
            message = (
                f"{what}, but training on several needs lt-strategies (`{line}`), so one is used. "
                "`devices=1` says that this is meant."
            )
            rank_zero_warn(message)
        return 1
    if count > 1 and is_interactive():
        rank_zero_info(f"{what}; one is used in an interactive session, `devices={count}` uses all.")
        return 1
    return count


def _started_per_node(environment: ClusterEnvironment, accelerator: Accelerator, *, num_nodes: int) -> int:
    """Return how many processes somebody else has started on each node, where there may be a device for each."""
    if not environment.creates_processes_externally:
        return 1
    started = started_processes(environment)
    try:
        accelerator.parse_devices(started // num_nodes)
    except MisconfigurationException:
        return 1  # not on this machine; what was started is compared with what's here later
    return started // num_nodes


def started_processes(environment: ClusterEnvironment) -> int:
    """Return the number of the job's processes, as far as they have been started already."""
    variable = os.environ.get("WORLD_SIZE", "")
    return max(environment.world_size(), int(variable) if variable.isdecimal() else 1)


def _reason_for_several(hardware: HardwareSpec, *, num_devices: int, world_size: int) -> str | None:
    """Say what asks for several processes, if something does."""
    if num_devices > 1:
        return f"`devices={hardware.devices!r}`"
    if hardware.num_nodes > 1:
        return f"`num_nodes={hardware.num_nodes}`"
    if world_size > 1:
        return f"A job of {world_size} processes (WORLD_SIZE in the environment)"
    return None


def _refuse_several(reason: str | None, strategy: Strategy | None) -> None:
    """Refuse several processes where there's no strategy for them: each would train alone, without a word."""
    if reason is None:
        return
    if strategy is None:
        missing = missing_package("lt-strategies", reason, "lt-strategies")
        raise missing
    message = (
        f"{reason} asks for several processes, but {type(strategy).__name__} runs in one. "
        "Leave `strategy='auto'`, or name one for several processes, such as 'ddp'."
    )
    raise MisconfigurationException(message)
