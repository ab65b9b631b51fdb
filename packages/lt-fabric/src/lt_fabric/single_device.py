"""The strategy of one process on one device."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lt_fabric.full_precision import FullPrecision
from lt_fabric.window import SingleDeviceWindow, UnitWindow
from lt_interfaces import (
    Accelerator,
    AccumulationWindow,
    Assembly,
    Capability,
    FlagExchange,
    Launcher,
    Precision,
    Strategy,
    plugins,
)
from lt_interfaces.clipping import clip_gradients
from lt_interfaces.empty_init import on_device
from lt_interfaces.module_state import load_state_dict_clearly
from lt_interfaces.portable_state import load_optimizer_state
from lt_interfaces.rank_zero import set_global_rank


class SingleDeviceStrategy(Strategy):
    """Runs in the current process on one device; every collective returns what it was given.

    Args:
        device: the device to use, e.g. ``"cuda:1"``; ``None``: the first of those asked for by ``accelerator`` and
            ``devices``.

    >>> SingleDeviceStrategy("cpu").world_size
    1
    """

    def __init__(self, device: torch.device | str | int | None = None) -> None:
        self.requested_device = None if device is None else torch.device(device)
        """The device given by the user; it decides on the accelerator."""
        self._root_device = self.requested_device or torch.device("cpu")
        self._accelerator: Accelerator | None = None
        self._precision: Precision = FullPrecision()
        # Weak: whoever set a module up decides how long it lives.
        self._modules: WeakSet[nn.Module] = WeakSet()
        self._window = SingleDeviceWindow(self._parameters)
        self._unit_window = UnitWindow()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the modules that were set up: what's weak can't be pickled, and a copy sets up its own."""
        return {**vars(self), "_modules": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _modules=WeakSet())

    # --- before launching ---

    def connect(self, assembly: Assembly) -> None:
        self._root_device = self.requested_device or assembly.devices[0]
        self._accelerator = assembly.accelerator
        self._precision = assembly.precision
        self._modules.clear()

    def supports(self, part: Precision | Accelerator | Capability) -> bool:
        return part not in (Capability.SEVERAL_PROCESSES, Capability.SYNC_BATCHNORM)

    @property
    def launcher(self) -> Launcher | None:
        return None

    @property
    def default_checkpoint_io(self) -> str:
        return "torch" if plugins.is_installed("checkpoint_ios", "torch") else "local"

    # --- who am I ---

    @property
    def root_device(self) -> torch.device:
        return self._root_device

    @property
    def global_rank(self) -> int:
        return 0

    @property
    def local_rank(self) -> int:
        return 0

    @property
    def node_rank(self) -> int:
        return 0

    @property
    def world_size(self) -> int:
        return 1

    @property
    def is_global_zero(self) -> bool:
        return True

    @property
    def distributed_sampler_kwargs(self) -> Mapping[str, int] | None:
        return None

    # --- set-up ---

    def setup_environment(self) -> None:
        if self._accelerator is not None:
            self._accelerator.setup_device(self._root_device)
        set_global_rank(0)

    def init_context(self, *, empty_init: bool | None = None) -> AbstractContextManager[None]:
        return on_device(self._root_device, empty_init=empty_init)

    def setup(
        self,
        module: nn.Module,
        make_optimizers: Callable[[], Sequence[Optimizer]] | None,
        *,
        move_to_device: bool = True,
    ) -> tuple[nn.Module, list[Optimizer]]:
        if move_to_device:
            module.to(self._root_device)
        self._modules.add(module)
        return module, [] if make_optimizers is None else list(make_optimizers())

    def setup_optimizers(self, optimizers: Sequence[Optimizer]) -> list[Optimizer]:
        return list(optimizers)

    def setup_dataloader(self, loader: Any) -> Any:
        return loader

    # --- a step ---

    def bind_step(self, module: nn.Module, name: str) -> Callable[..., Any]:
        step: Callable[..., Any] = getattr(module, name)
        return step

    def open_window(self, length: int) -> AccumulationWindow:
        if length == 1:
            self._unit_window.held = 0
            return self._unit_window
        self._window.reopen(length)
        return self._window

    def no_backward_sync(self, module: nn.Module, *, enabled: bool = True) -> AbstractContextManager[None]:
        return nullcontext()

    def backward(self, loss: Tensor, run_backward: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        self._precision.backward(loss, run_backward, *args, **kwargs)

    def optimizer_step(
        self,
        optimizer: Optimizer,
        closure: Callable[[], Any],
        before_step: Callable[[Optimizer], None],
        **kwargs: Any,
    ) -> Any:
        return self._precision.optimizer_step(optimizer, closure, before_step, **kwargs)

    @property
    def step_was_skipped(self) -> bool:
        return self._precision.step_was_skipped

    def clip_gradients(
        self,
        parameters: Iterable[Tensor],
        *,
        max_norm: float | None = None,
        clip_value: float | None = None,
        norm_type: float = 2.0,
        error_if_nonfinite: bool = False,
    ) -> Tensor | None:
        return clip_gradients(
            parameters,
            max_norm=max_norm,
            clip_value=clip_value,
            norm_type=norm_type,
            error_if_nonfinite=error_if_nonfinite,
        )

    # --- collectives ---

    def reduce(self, tensor: Tensor, *, op: str = "mean", group: Any = None) -> Tensor:
        return tensor

    def all_gather(self, tensor: Tensor, *, group: Any = None, sync_grads: bool = False) -> Tensor:
        return tensor

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        return obj

    def barrier(self, name: str = "", *, patient: bool = False) -> None:
        """Do nothing: nobody else is there to wait for."""

    def open_flag_exchange(self, every: int | None = None) -> FlagExchange | None:
        return None

    # --- state ---

    def module_state(self, module: nn.Module) -> dict[str, Any]:
        return module.state_dict()

    def load_module_state(self, module: nn.Module, state: Mapping[str, Any], *, strict: bool = True) -> Any:
        return load_state_dict_clearly(module, state, strict=strict)

    def optimizer_state(self, module: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
        return optimizer.state_dict()

    def load_optimizer_state(self, module: nn.Module, optimizer: Optimizer, state: Mapping[str, Any]) -> None:
        load_optimizer_state(module, optimizer, state)

    # --- the end ---

    def announce_failure(self, failure: BaseException, *, step: int | None = None) -> BaseException:
        return failure

    def teardown(self) -> None:
        if self._root_device.type != "cpu":
            for module in self._modules:
                module.cpu()
        self._modules.clear()
        if self._accelerator is not None:
            self._accelerator.teardown()

    def _parameters(self) -> Iterator[Tensor]:
        for module in self._modules:
            yield from module.parameters()
