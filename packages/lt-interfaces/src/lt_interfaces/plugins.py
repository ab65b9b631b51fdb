"""Plugin lookup: from a name to the object that an installed distribution offers under it.

One entry-point group per contract (``lt.strategies``, ``lt.precisions``, ...); what we ship is registered the same way
as what strangers ship. Loading a name loads that one plugin and checks it against its contract. A name is sugar:
wherever a name is accepted, an instance is too.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from inspect import isabstract, isclass
from typing import Any, Final

from lt_interfaces.accelerator import Accelerator
from lt_interfaces.callback import Callback
from lt_interfaces.checkpoint_io import CheckpointIO
from lt_interfaces.environment import ClusterEnvironment
from lt_interfaces.launcher import Launcher
from lt_interfaces.logger import Logger
from lt_interfaces.precision import Precision
from lt_interfaces.profiler import Profiler
from lt_interfaces.spelling import did_you_mean
from lt_interfaces.strategy import Strategy

CONTRACTS: Final[Mapping[str, type | None]] = {
    "strategies": Strategy,
    "precisions": Precision,
    "accelerators": Accelerator,
    "environments": ClusterEnvironment,
    "launchers": Launcher,
    "checkpoint_ios": CheckpointIO,
    "loggers": Logger,
    "profilers": Profiler,
    "callbacks": Callback,
    "cli_commands": None,
}
"""The kinds of plugins (group ``lt.<kind>``), each with the contract it's checked against."""

_INSTALL: Final[Mapping[str, Mapping[str, Iterable[str]]]] = {
    "strategies": {
        "lt-fabric": ("single_device",),
        "lt-strategies": (
            *("ddp", "ddp_spawn", "ddp_fork", "ddp_notebook"),
            *(
                f"{name}_find_unused_parameters_{flag}"
                for name in ("ddp", "ddp_spawn", "ddp_fork", "ddp_notebook")
                for flag in ("true", "false")
            ),
        ),
        "lt-fsdp": ("fsdp", "fsdp_cpu_offload"),
        "lt-deepspeed": (
            *("deepspeed", "deepspeed_stage_1", "deepspeed_stage_2", "deepspeed_stage_3"),
            *("deepspeed_stage_1_offload", "deepspeed_stage_2_offload", "deepspeed_stage_3_offload"),
            "deepspeed_stage_3_offload_nvme",
        ),
    },
    "precisions": {
        "lt-fabric": ("32-true",),
        "lt-precision": (
            *("64-true", "16-true", "bf16-true", "16-mixed", "bf16-mixed"),
            *("fp8-mixed", "float8", "float8-rowwise", "transformer-engine", "transformer-engine-float16"),
            *("nf4", "nf4-dq", "fp4", "fp4-dq", "int8", "int8-training", "int8-weight-only", "int4-weight-only"),
        ),
    },
    "accelerators": {"lt-fabric": ("cpu", "cuda", "mps")},
    "environments": {
        "lt-fabric": ("local",),
        "lt-strategies": ("torchelastic", "slurm", "mpi", "lsf", "kubeflow"),
    },
    "checkpoint_ios": {
        "lt-fabric": ("local",),
        "lt-checkpoint-io": ("torch", "async", "distributed"),
        "lt-deepspeed": ("deepspeed",),
    },
    "loggers": {"lt-loggers": ("csv", "tensorboard", "dummy", "wandb", "mlflow", "comet")},
    "profilers": {"lt-profilers": ("simple", "advanced", "pytorch", "xla")},
    "callbacks": {"lt-callbacks": ("model_checkpoint", "progress_bar", "model_summary", "timer")},
}
"""Our own names and the distribution that brings each, for the ``pip install`` line of an error."""


_ONE: Final = {**{kind: kind.removesuffix("s") for kind in CONTRACTS}, "strategies": "strategy"}
"""What one plugin of each kind is called in messages."""


@cache
def _installed(kind: str) -> Mapping[str, tuple[EntryPoint, ...]]:
    """Return the entry points of a kind by name; a name offered twice keeps both, so that an error can name them."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=f"lt.{kind}"):
        same = [other for other in found.get(point.name, ()) if other.value != point.value]
        found[point.name] = (*same, point)
    return found


def candidates(kind: str) -> list[str]:
    """Return the names installed for a kind, sorted, without loading any.

    >>> isinstance(candidates("strategies"), list)
    True
    """
    _check_kind(kind)
    return sorted(_installed(kind))


def is_installed(kind: str, name: str) -> bool:
    """Say whether a distribution that offers this name is installed, without loading it."""
    _check_kind(kind)
    return name in _installed(kind)


def install_line(kind: str, name: str) -> str | None:
    """Return the ``pip install`` line for one of our own names, ``None`` for names that aren't ours.

    >>> install_line("strategies", "fsdp")
    'pip install lt-fsdp'
    """
    for distribution, names in _INSTALL.get(kind, {}).items():
        if name in names:
            return f"pip install {distribution}"
    return None


def known_names(kind: str) -> list[str]:
    """Return the names that are installed or are ours, sorted: what a spelling mistake may have meant."""
    ours = {name for names in _INSTALL.get(kind, {}).values() for name in names}
    return sorted(ours | set(_installed(kind)))


def resolve(kind: str, name: str) -> Any:
    """Load the plugin registered under a name: a class, or a factory that makes an instance.

    Args:
        kind: one of `CONTRACTS`.
        name: the entry point's name.

    Raises:
        ValueError: when nothing installed has this name (with the ``pip install`` line for our own names), or when
            two distributions offer it.
        TypeError: when what was loaded doesn't fulfil the contract.
    """
    _check_kind(kind)
    points = _installed(kind).get(name, ())
    if not points:
        message = _unknown(kind, name)
        raise ValueError(message)
    if len(points) > 1:
        providers = " and ".join(f"{_distribution(point)} ({point.value})" for point in points)
        message = f"Two distributions offer {kind} `{name}`: {providers}. Uninstall one, or pass an instance."
        raise ValueError(message)
    try:
        plugin = points[0].load()
    except Exception as error:
        error.add_note(f"While loading {kind} `{name}` of {_distribution(points[0])} ({points[0].value}).")
        raise
    _check(kind, points[0], plugin)
    return plugin


def detect(kind: str) -> Any:
    """Load the candidates of a kind by declared priority until one's ``detect()`` says yes, and return its class.

    Raises:
        ValueError: when none says yes.
    """
    found = [resolve(kind, name) for name in candidates(kind)]
    for plugin in sorted(found, key=lambda plugin: plugin.detection_priority, reverse=True):
        if plugin.detect():
            return plugin
    message = f"None of the installed {kind} fits here; asked: {candidates(kind)}."
    raise ValueError(message)


def _check_kind(kind: str) -> None:
    if kind not in CONTRACTS:
        message = f"Unknown kind of plugin `{kind}`; kinds are {sorted(CONTRACTS)}."
        raise ValueError(message)


def _unknown(kind: str, name: str) -> str:
    """Return the message for a name that nothing installed offers."""
    line = install_line(kind, name)
    installed = candidates(kind)
    if line is not None:
        return f"The {_ONE[kind]} `{name}` isn't installed; get it by `{line}`. Installed {kind}: {installed}."
    return f"Unknown {_ONE[kind]} `{name}`.{did_you_mean(name, known_names(kind))} Installed: {installed}."


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an unnamed distribution"


def _check(kind: str, point: EntryPoint, plugin: Any) -> None:
    """Check a loaded plugin: a class must fulfil the contract's methods, anything else must be callable."""
    contract = CONTRACTS[kind]
    if contract is None or (not isclass(plugin) and callable(plugin)):
        return
    where = f"{kind} `{point.name}` of {_distribution(point)} ({point.value})"
    if not isclass(plugin):
        message = f"{where} is neither a class nor a factory, but {plugin!r}."
        raise TypeError(message)
    missing = sorted(
        method for method in getattr(contract, "__abstractmethods__", ()) if not _implements(plugin, method)
    )
    if missing:
        message = f"{where} doesn't fulfil {contract.__name__}: it lacks {missing}."
        raise TypeError(message)
    if isabstract(plugin):
        message = f"{where} is abstract; still to be written: {sorted(getattr(plugin, '__abstractmethods__', ()))}."
        raise TypeError(message)


def _implements(plugin: type, method: str) -> bool:
    return not getattr(getattr(plugin, method, None), "__isabstractmethod__", not hasattr(plugin, method))
