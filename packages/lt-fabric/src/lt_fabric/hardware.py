"""The hardware of a run as the user asked for it: which devices, laid out how, in which precision.

Only forms are settled here. What the names stand for, and whether this machine has it, is found when a run is put
together.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from lt_fabric.argument_checks import check_bool, check_choice, check_int, fulfils, is_int, refusal
from lt_fabric.plugin_kinds import sort_plugins
from lt_interfaces.accelerator import Accelerator
from lt_interfaces.checkpoint_io import CheckpointIO
from lt_interfaces.environment import ClusterEnvironment
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.plugins import candidates, known_names
from lt_interfaces.precision import Precision
from lt_interfaces.rank_zero import rank_zero_warn
from lt_interfaces.strategy import Strategy

Devices = int | list[int] | Literal["auto"]

_PRECISION_ALIASES: Final = {"64": "64-true", "32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed"}
_DISCOURAGED: Final = ("16", "bf16")
_DEVICES: Final = (
    "'auto', a number of devices >= 1, -1 for all, or different indices >= 0 such as [0, 2] or '0,2' "
    "(the string '2' is a number of devices, '2,' an index)"
)


@dataclass(frozen=True)
class HardwareSpec:
    """What a run shall run on, checked in form and with names in their canonical spelling.

    The Trainer and Fabric make one from their arguments by `resolve_hardware`; `assemble` turns it into a runtime.
    """

    accelerator: str | Accelerator
    """``"auto"``, ``"gpu"``, a plugin's name, or an instance."""

    strategy: str | Strategy
    """``"auto"``, a plugin's name, or an instance."""

    devices: Devices
    """``"auto"``, a number (-1 for all), or indices."""

    num_nodes: int
    precision: str | Precision
    """A plugin's canonical name such as ``"bf16-mixed"``, or an instance (given here or among the plugins)."""

    plugins: tuple[Precision | CheckpointIO | ClusterEnvironment, ...]
    """At most one of each kind."""

    sync_batchnorm: bool
    use_distributed_sampler: bool

    @property
    def checkpoint_io(self) -> CheckpointIO | None:
        """The checkpoint IO among the plugins."""
        return cast(CheckpointIO | None, sort_plugins(self.plugins).get("checkpoint_io"))

    @property
    def environment(self) -> ClusterEnvironment | None:
        """The cluster environment among the plugins."""
        return cast(ClusterEnvironment | None, sort_plugins(self.plugins).get("environment"))


def resolve_hardware(
    *,
    accelerator: object = "auto",
    strategy: object = "auto",
    devices: object = "auto",
    num_nodes: object = 1,
    precision: object = None,
    plugins: object = None,
    sync_batchnorm: object = False,
    use_distributed_sampler: object = True,
) -> HardwareSpec:
    """Check the arguments of the Trainer or Fabric that choose hardware; all of them may hold anything.

    Raises:
        MisconfigurationException: for a wrong value, naming the argument; it is a `ValueError`.
        TypeError: for a wrong type.

    >>> spec = resolve_hardware(devices="0,2", precision=64)
    >>> spec.devices, spec.precision
    ([0, 2], '64-true')
    """
    plugin_of = sort_plugins(plugins)
    return HardwareSpec(
        accelerator=_name_or_instance(
            "accelerator", accelerator, contract=Accelerator, special=("auto", "gpu"), kind="accelerators"
        ),
        strategy=_name_or_instance("strategy", strategy, contract=Strategy, special=("auto",), kind="strategies"),
        devices=check_devices(devices),
        num_nodes=check_int("num_nodes", num_nodes, minimum=1, wrong_type=ValueError),
        precision=_resolve_precision(precision, plugin_of.get("precision")),
        plugins=tuple(plugin_of.values()),
        sync_batchnorm=check_bool("sync_batchnorm", sync_batchnorm),
        use_distributed_sampler=check_bool("use_distributed_sampler", use_distributed_sampler),
    )


def check_devices(value: object) -> Devices:
    """Return ``devices`` as ``"auto"``, a number (-1 for all) or a list of indices.

    >>> check_devices("2"), check_devices("2,"), check_devices([0, 1]), check_devices("-1")
    (2, [2], [0, 1], -1)
    """
    parsed = _parse_device_string(value) if isinstance(value, str) else value
    if isinstance(parsed, str):
        return "auto"
    if isinstance(parsed, list | tuple):
        return _check_indices(value, parsed)
    number = check_int("devices", parsed, minimum=-1, accepted=_DEVICES)
    if number == 0:
        message = refusal("devices", value, accepted=_DEVICES)
        raise MisconfigurationException(message)
    return number


def canonical_precision(value: object, known: Iterable[str]) -> str:
    """Return the canonical name of a precision; 16, 32, 64 and ``"bf16"`` are short for one.

    Args:
        value: what came.
        known: the names that are accepted; the aliases are added here.

    >>> canonical_precision(32, ["32-true"])
    '32-true'
    """
    spelled = str(value) if is_int(value) else value
    canonical = _PRECISION_ALIASES.get(spelled) if isinstance(spelled, str) else None
    if canonical is None:
        known = list(known)
        also = f", one of 16, 32, 64, 'bf16', or an instance{_missing(known, installed=candidates('precisions'))}"
        return check_choice("precision", spelled, choices=known, also=also)
    if spelled in _DISCOURAGED:
        rank_zero_warn(
            f"`precision={value!r}` is ambiguous: it stands for '{canonical}', which keeps the weights in 32 bit. "
            f"Write `precision='{canonical}'`."
        )
    return canonical


def _resolve_precision(value: object, plugin: Precision | None) -> str | Precision:
    if value is None:
        return plugin or "32-true"
    if plugin is not None:
        message = (
            f"`precision` must be left out when `plugins` holds a Precision, but got {value!r} beside "
            f"{type(plugin).__name__}. Leave one of the two out."
        )
        raise MisconfigurationException(message)
    if fulfils(value, Precision):
        return cast(Precision, value)
    return canonical_precision(value, known_names("precisions"))


def _missing(known: Sequence[str], *, installed: Sequence[str]) -> str:
    """Return a remark on known names that an error lists, where not all of them are installed."""
    there = [name for name in known if name in installed]
    return f" (installed: {', '.join(map(repr, there))})" if 0 < len(there) < len(known) else ""


def _name_or_instance(name: str, value: object, *, contract: type, special: Sequence[str], kind: str) -> Any:
    """Return a special or known name in its canonical spelling, or the instance, which fulfils the contract."""
    if fulfils(value, contract):
        return value
    # "auto" needs no look-up of what's installed, which reads files
    if isinstance(value, str) and value.lower() in special:
        return value.lower()
    also = f", or an instance of {contract.__name__}"
    return check_choice(name, value, choices=[*special, *known_names(kind)], also=also)


def _parse_device_string(value: str) -> Devices:
    """Return ``"auto"``, the number or the indices that the string stands for."""
    text = value.strip().lower()
    if text == "auto":
        return "auto"
    try:
        if "," in text:
            return [int(index) for index in text.removesuffix(",").split(",")]
        return int(text)
    except ValueError:
        message = refusal("devices", value, accepted=_DEVICES)
        raise MisconfigurationException(message) from None


def _check_indices(value: object, indices: Sequence[object]) -> list[int]:
    checked = [check_int("devices", index, minimum=0, accepted=_DEVICES) for index in indices]
    if not checked or len(set(checked)) < len(checked):
        message = refusal("devices", value, accepted=_DEVICES)
        raise MisconfigurationException(message)
    return checked
