"""Parts that this machine lacks, offered as another distribution would offer them."""

from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from lt_fabric.cpu import CPUAccelerator
from lt_fabric.single_device import SingleDeviceStrategy
from lt_interfaces import Accelerator, Assembly, Capability, Launcher, Precision, Strategy, plugins


def offer(monkeypatch: pytest.MonkeyPatch, kind: str, **parts: object) -> None:
    """Register parts by name beside those that are installed."""
    installed = dict(plugins._installed(kind))
    for name, part in parts.items():
        point = EntryPoint(name=name, value="fabric_pretence:part", group=f"lt.{kind}")
        monkeypatch.setattr(EntryPoint, "load", _loading(part, point.name, EntryPoint.load))
        installed[name] = (point,)
    before: Callable[[str], Any] = plugins._installed
    monkeypatch.setattr(plugins, "_installed", lambda asked: installed if asked == kind else before(asked))


def hide(monkeypatch: pytest.MonkeyPatch, kind: str, *names: str) -> None:
    """Let names of a kind look as if nothing that offers them were installed."""
    installed = {name: points for name, points in plugins._installed(kind).items() if name not in names}
    before: Callable[[str], Any] = plugins._installed
    monkeypatch.setattr(plugins, "_installed", lambda asked: installed if asked == kind else before(asked))


def _loading(part: object, name: str, load: Callable[[EntryPoint], Any]) -> Callable[[EntryPoint], Any]:
    return lambda point: part if point.name == name and point.value == "fabric_pretence:part" else load(point)


class ManyAccelerator(CPUAccelerator):
    """Four devices that are really the CPU."""

    name: ClassVar[str] = "many"
    auto_priority: ClassVar[int] = 100

    def auto_device_count(self) -> int:
        return 4

    def is_available(self) -> bool:
        return True


class ScriptLauncher(Launcher):
    """Calls the function here, but says that it would run the script again."""

    def launch(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    def kill(self, signum: int) -> None:
        """Do nothing: no process was started."""


class FunctionLauncher(ScriptLauncher):
    """Calls the function here, but says that the caller's process isn't one of the job."""

    returns_results: ClassVar[bool] = False


class Wrapped(nn.Module):
    """What a strategy puts around a module; counts its forward calls."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.inner = module
        self.calls = 0

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return self.inner(*args, **kwargs)


class ManyStrategy(SingleDeviceStrategy):
    """Says that it runs in several processes and wraps modules, but works in one."""

    def __init__(self) -> None:
        super().__init__()
        self.started: Launcher | None = ScriptLauncher()
        self.refused: Iterable[object] = ()
        self.barriers: list[str] = []

    @property
    def launcher(self) -> Launcher | None:
        return self.started

    def supports(self, part: Precision | Accelerator | Capability) -> bool:
        return not any(part is one or (isinstance(one, type) and isinstance(part, one)) for one in self.refused)

    def connect(self, assembly: Assembly) -> None:
        super().connect(assembly)
        self.assembly = assembly

    def setup(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        _, optimizers = super().setup(module, *args, **kwargs)
        return Wrapped(module), optimizers

    def bind_step(self, module: nn.Module, name: str) -> Callable[..., Any]:
        assert isinstance(module, Wrapped)
        method = getattr(module.inner, name)

        def step(*args: Any, **kwargs: Any) -> Any:
            module.calls += 1
            return method(*args, **kwargs)

        return step

    def module_state(self, module: nn.Module) -> dict[str, Any]:
        assert isinstance(module, Wrapped)
        return module.inner.state_dict()

    def barrier(self, name: str = "", *, patient: bool = False) -> None:
        self.barriers.append(name)


def as_strategy(strategy: ManyStrategy) -> Strategy:
    """Return the strategy under its contract's type."""
    return strategy


CPU = torch.device("cpu")
