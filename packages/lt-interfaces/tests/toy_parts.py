"""One small part per contract, written from the docstrings of `lt_interfaces` alone, as a stranger would write it.

The conformance suites are tried on these, and the integration tests install them as a distribution of its own.
"""

import io
import json
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from lt_interfaces import (
    Accelerator,
    AccumulationWindow,
    Assembly,
    Callback,
    Capability,
    CheckpointIO,
    CheckpointTraits,
    ClusterEnvironment,
    FlagExchange,
    Launcher,
    Logger,
    MisconfigurationException,
    Precision,
    PrecisionDtypes,
    Profiler,
    StoredCheckpoint,
    Strategy,
)
from lt_interfaces.clipping import clip_grad_norm, clip_grad_value
from lt_interfaces.commit import commit_file, remove_committed, visible_entries
from lt_interfaces.moving import move_data_to_device
from lt_interfaces.portable_state import optimizer_state_from_names, optimizer_state_to_names
from lt_interfaces.rank_zero import rank_zero_only, set_global_rank
from lt_interfaces.testing import RegressionDataset
from lt_interfaces.torch_file import refuse_sharded


class ToyAccelerator(Accelerator):
    """Two imaginary devices that compute on the CPU."""

    name: ClassVar[str] = "toy"
    auto_priority: ClassVar[int] = -1

    def __init__(self) -> None:
        self.set_up: list[torch.device] = []

    def is_available(self) -> bool:
        return True

    def auto_device_count(self) -> int:
        return 1

    def parse_devices(self, devices: int | str | list[int]) -> list[torch.device]:
        if not isinstance(devices, int | str):
            message = f"`devices` must be a number for toys, not {devices!r}."
            raise TypeError(message)
        if not 1 <= int(devices) <= 2:
            message = f"`devices` must be 1 or 2 for toys, not {devices!r}."
            raise MisconfigurationException(message)
        return [torch.device("cpu")] * int(devices)

    def setup_device(self, device: torch.device) -> None:
        self.set_up.append(device)

    def get_device_stats(self, device: torch.device) -> Mapping[str, float]:
        return {"toys": 1}

    def teardown(self) -> None:
        self.set_up.clear()


class ToyEnvironment(ClusterEnvironment):
    """A job of one process whose starter sets the variable ``TOY_CLUSTER``."""

    detection_priority: ClassVar[int] = 5

    def __init__(self) -> None:
        self._world_size, self._global_rank = 1, 0

    @classmethod
    def detect(cls) -> bool:
        return "TOY_CLUSTER" in os.environ

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return "127.0.0.1"

    @property
    def main_port(self) -> int:
        return 12345

    def world_size(self) -> int:
        return self._world_size

    def set_world_size(self, size: int) -> None:
        self._world_size = size

    def global_rank(self) -> int:
        return self._global_rank

    def set_global_rank(self, rank: int) -> None:
        self._global_rank = rank

    def local_rank(self) -> int:
        return 0

    def node_rank(self) -> int:
        return 0

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        if num_devices * num_nodes != self._world_size:
            message = f"`devices={num_devices}` and `num_nodes={num_nodes}` don't make {self._world_size} process."
            raise ValueError(message)

    @property
    def requeue_signal(self) -> signal.Signals | None:
        return None

    def requeue(self) -> None:
        message = "toys have no queue"
        raise RuntimeError(message)

    def teardown(self) -> None:
        """Nothing was set."""


class ToyLauncher(Launcher):
    """Runs the function right here."""

    is_interactive_compatible: ClassVar[bool] = True

    def launch(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    def kill(self, signum: int) -> None:
        """No process was started."""


class ToyPrecision(Precision):
    """Everything in 64 bits; remembers how many steps it took."""

    def __init__(self, precision: str = "toy-64", device: torch.device | None = None) -> None:
        self.asked_for = (precision, device)
        self.steps = 0

    @property
    def precision(self) -> str:
        return "toy-64"

    def dtypes(self) -> PrecisionDtypes:
        return PrecisionDtypes(*[torch.float64] * 4)

    def convert_module(self, module: nn.Module) -> nn.Module:
        return module.double()

    def convert_input(self, data: Any) -> Any:
        return _with_floats_as(torch.float64, data)

    def convert_output(self, data: Any) -> Any:
        return _with_floats_as(torch.get_default_dtype(), data)

    def forward_context(self) -> AbstractContextManager[Any]:
        return nullcontext()

    @contextmanager
    def module_init_context(self) -> Iterator[None]:
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(before)

    def tensor_init_context(self) -> AbstractContextManager[Any]:
        return self.module_init_context()

    def backward(self, loss: Tensor, run_backward: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        run_backward(loss, *args, **kwargs)

    def unscale_gradients(self, optimizer: Optimizer) -> None:
        """Gradients were never scaled."""

    def optimizer_step(
        self,
        optimizer: Optimizer,
        closure: Callable[[], Any],
        before_step: Callable[[Optimizer], None],
        **kwargs: Any,
    ) -> Any:
        outcome = closure()
        before_step(optimizer)
        optimizer.step(**kwargs)
        self.steps += 1
        return outcome

    @property
    def checkpoint_key(self) -> str | None:
        return "ToyPrecision"

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.steps = state["steps"]


class ToyCheckpointIO(CheckpointIO):
    """A file that begins with a line of its own."""

    HEADER = b"toy checkpoint\n"

    @property
    def traits(self) -> CheckpointTraits:
        return CheckpointTraits()

    def save_checkpoint(
        self, checkpoint: Mapping[str, Any], path: str | PathLike[str], storage_options: Any | None = None
    ) -> None:
        refuse_sharded(checkpoint)
        with commit_file(path) as file:
            file.write(self.HEADER)
            file.write(_as_bytes(checkpoint))

    def load_checkpoint(
        self, path: str | PathLike[str], map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        content = Path(path).read_bytes()
        if not content.startswith(self.HEADER):
            message = f"`{path}` is no toy checkpoint."
            raise ValueError(message)
        file = io.BytesIO(content.removeprefix(self.HEADER))
        checkpoint: dict[str, Any] = torch.load(
            file, map_location=map_location or "cpu", weights_only=weights_only is not False
        )
        return checkpoint

    def remove_checkpoint(self, path: str | PathLike[str]) -> None:
        remove_committed(path)

    def stored(self, folder: str | PathLike[str]) -> list[StoredCheckpoint]:
        return [StoredCheckpoint(path, modified) for path, modified in visible_entries(folder)]

    def is_whole(self, path: str | PathLike[str]) -> bool:
        return Path(path).is_file() and Path(path).read_bytes().startswith(self.HEADER)

    def poll(self) -> None:
        """Every save raised what went wrong itself."""

    def teardown(self) -> None:
        """Every save was finished when it returned."""


class ToyLogger(Logger):
    """One JSON line per flush."""

    def __init__(self, save_dir: str | PathLike[str], version: int | str | None = None) -> None:
        self._folder = Path(save_dir) / "toy"
        self._version = version or 0
        self.ended_with: str | None = None

    @property
    def name(self) -> str:
        return "toy"

    @property
    def version(self) -> int | str:
        return self._version

    @property
    def log_dir(self) -> str:
        return str(self._folder)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._write({"step": step, **metrics})

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self._write({"params": dict(params if isinstance(params, Mapping) else vars(params))})

    def finalize(self, status: str) -> None:
        self.ended_with = status

    def _write(self, row: Mapping[str, Any]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "rows.jsonl").open("a") as file:
            file.write(json.dumps(row, default=str) + "\n")


class ToyCallback(Callback):
    """Counts training batches, over resumes too."""

    def __init__(self) -> None:
        self.batches = 0

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.batches += 1

    def state_dict(self) -> dict[str, Any]:
        return {"batches": self.batches}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.batches = state_dict["batches"]


class ToyProfiler(Profiler):
    """Seconds spent in each span."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._started: dict[str, float] = {}

    def setup(self, stage: str, local_rank: int | None, log_dir: str | None) -> None:
        self._started.clear()

    def start(self, action_name: str) -> None:
        self._started[action_name] = time.perf_counter()

    def stop(self, action_name: str) -> None:
        elapsed = time.perf_counter() - self._started.pop(action_name)
        self.seconds[action_name] = self.seconds.get(action_name, 0.0) + elapsed

    @contextmanager
    def profile(self, action_name: str) -> Iterator[str]:
        self.start(action_name)
        try:
            yield action_name
        finally:
            self.stop(action_name)

    def summary(self) -> str:
        return "\n".join(f"{name}: {seconds:.6f} s" for name, seconds in self.seconds.items())

    def describe(self) -> None:
        """Toys say nothing."""

    def teardown(self, stage: str | None) -> None:
        self._started.clear()


class ToyDataModule:
    """A datamodule by its methods alone."""

    prepare_data_per_node = True
    allow_zero_length_dataloader_with_multiple_devices = False
    trainer: Any = None

    def prepare_data(self) -> None:
        """Nothing is downloaded."""

    def setup(self, stage: str) -> None:
        self.rows = RegressionDataset()

    def teardown(self, stage: str) -> None:
        """Nothing was opened."""

    def train_dataloader(self) -> Any:
        return DataLoader(self.rows, batch_size=4)

    val_dataloader = test_dataloader = predict_dataloader = train_dataloader

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """There's no state."""

    def on_exception(self, exception: BaseException) -> None:
        """Nothing to clean up."""

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return move_data_to_device(batch, device)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch


class ToyWindow(AccumulationWindow):
    """Sums the weighted gradients, and divides by all the weight when it's closed."""

    def __init__(self, parameters: Callable[[], Iterable[Tensor]]) -> None:
        self.held = 0
        self._parameters = parameters
        self._total: float | Tensor = 0.0
        self._is_weighted: bool | None = None

    def begin(self, *, is_last: bool) -> None:
        """There's nobody to synchronise with."""

    def add(self, loss: Tensor, weight: float | Tensor | None = None) -> Tensor:
        if self._is_weighted not in (None, weight is not None):
            message = "Give every micro-batch of a window a weight, or none."
            raise ValueError(message)
        self._is_weighted = weight is not None
        self.held += 1
        share = 1.0 if weight is None else weight
        self._total = self._total + share
        return loss * share

    def state_dict(self) -> dict[str, Any]:
        return {"held": self.held, "total": self._total, "is_weighted": self._is_weighted}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.held, self._total, self._is_weighted = state["held"], state["total"], state["is_weighted"]

    def close(self) -> None:
        for parameter in self._parameters() if self.held else ():
            if parameter.grad is not None:
                parameter.grad /= self._total


class ToyStrategy(Strategy):
    """One process on one device, put together from the floor's parts."""

    def __init__(self) -> None:
        self.steps = 0
        self._assembly: Assembly | None = None
        self._modules: list[nn.Module] = []

    def connect(self, assembly: Assembly) -> None:
        self._assembly = assembly
        self._modules.clear()

    @property
    def parts(self) -> Assembly:
        assert self._assembly is not None, "connect comes first"
        return self._assembly

    def supports(self, part: Precision | Accelerator | Capability) -> bool:
        return part is not Capability.SEVERAL_PROCESSES

    @property
    def launcher(self) -> Launcher | None:
        return ToyLauncher()

    @property
    def default_checkpoint_io(self) -> str:
        return "toy_file"

    @property
    def root_device(self) -> torch.device:
        return self.parts.devices[0]

    global_rank = local_rank = node_rank = property(lambda self: 0)
    world_size = property(lambda self: 1)
    is_global_zero = property(lambda self: True)
    distributed_sampler_kwargs = property(lambda self: None)

    def setup_environment(self) -> None:
        self.parts.accelerator.setup_device(self.root_device)
        set_global_rank(0)

    def init_context(self, *, empty_init: bool | None = None) -> AbstractContextManager[Any]:
        return self.root_device

    def setup(
        self,
        module: nn.Module,
        make_optimizers: Callable[[], Sequence[Optimizer]] | None,
        *,
        move_to_device: bool = True,
    ) -> tuple[nn.Module, list[Optimizer]]:
        self._modules.append(module.to(self.root_device))
        return module, list(make_optimizers()) if make_optimizers else []

    def setup_optimizers(self, optimizers: Sequence[Optimizer]) -> list[Optimizer]:
        return list(optimizers)

    def setup_dataloader(self, loader: Any) -> Any:
        return loader

    def bind_step(self, module: nn.Module, name: str) -> Callable[..., Any]:
        step: Callable[..., Any] = getattr(module, name)
        return step

    def open_window(self, length: int) -> AccumulationWindow:
        return ToyWindow(lambda: (parameter for module in self._modules for parameter in module.parameters()))

    def no_backward_sync(self, module: nn.Module, *, enabled: bool = True) -> AbstractContextManager[None]:
        return nullcontext()

    def backward(self, loss: Tensor, run_backward: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        self.parts.precision.backward(loss, run_backward, *args, **kwargs)

    def optimizer_step(
        self,
        optimizer: Optimizer,
        closure: Callable[[], Any],
        before_step: Callable[[Optimizer], None],
        **kwargs: Any,
    ) -> Any:
        self.steps += 1
        return self.parts.precision.optimizer_step(optimizer, closure, before_step, **kwargs)

    def clip_gradients(
        self,
        parameters: Iterable[Tensor],
        *,
        max_norm: float | None = None,
        clip_value: float | None = None,
        norm_type: float = 2.0,
        error_if_nonfinite: bool = False,
    ) -> Tensor | None:
        if clip_value is not None:
            clip_grad_value(parameters, clip_value)
            return None
        assert max_norm is not None, "one of the two is given"
        return clip_grad_norm(parameters, max_norm, norm_type=norm_type, error_if_nonfinite=error_if_nonfinite)

    def reduce(self, tensor: Tensor, *, op: str = "mean", group: Any = None) -> Tensor:
        return tensor

    def all_gather(self, tensor: Tensor, *, group: Any = None, sync_grads: bool = False) -> Tensor:
        return tensor

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        return obj

    def barrier(self, name: str = "", *, patient: bool = False) -> None:
        """Nobody else is there."""

    def open_flag_exchange(self, every: int | None = None) -> FlagExchange | None:
        return None

    def announce_failure(self, failure: BaseException, *, step: int | None = None) -> BaseException:
        return failure

    def module_state(self, module: nn.Module) -> dict[str, Any]:
        return module.state_dict()

    def load_module_state(self, module: nn.Module, state: Mapping[str, Any], *, strict: bool = True) -> Any:
        return module.load_state_dict(state, strict=strict)

    def optimizer_state(self, module: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
        return optimizer_state_to_names(module, optimizer)

    def load_optimizer_state(self, module: nn.Module, optimizer: Optimizer, state: Mapping[str, Any]) -> None:
        optimizer.load_state_dict(optimizer_state_from_names(module, optimizer, state))

    def teardown(self) -> None:
        for module in self._modules:
            module.cpu()
        self.parts.accelerator.teardown()


def _as_bytes(checkpoint: Mapping[str, Any]) -> bytes:
    file = io.BytesIO()
    torch.save(checkpoint, file)
    return file.getvalue()


def _with_floats_as(dtype: torch.dtype, data: Any) -> Any:
    if isinstance(data, Tensor):
        return data.to(dtype) if data.is_floating_point() else data
    if isinstance(data, Mapping):
        return {name: _with_floats_as(dtype, value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return type(data)(_with_floats_as(dtype, value) for value in data)
    return data
