"""The strategy of one replica of the module per process, whose gradients are averaged."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from lt_interfaces import (
    Accelerator,
    AccumulationWindow,
    Assembly,
    Capability,
    FlagExchange,
    Launcher,
    MisconfigurationException,
    Precision,
    Strategy,
    plugins,
)
from lt_interfaces.clipping import clip_gradients
from lt_interfaces.empty_init import on_device
from lt_interfaces.module_state import load_state_dict_clearly
from lt_interfaces.portable_state import load_optimizer_state
from lt_strategies import collectives
from lt_strategies.averaging import ModelAveraging
from lt_strategies.job_processes import DEFAULT_TIMEOUT, JobProcesses, StartMethod
from lt_strategies.layer_sync import refuse_on_cpu, synced_layers, with_synced_batchnorm, without_synced_batchnorm
from lt_strategies.window import DDPGradientSync, RanksWindow
from lt_strategies.wrapping import CommHook, Wrapping, plain_module

_ELSEWHERE = {
    "accelerator": "`accelerator`",
    "parallel_devices": "`devices`",
    "cluster_environment": "`plugins`",
    "checkpoint_io": "`plugins`",
    "precision_plugin": "`precision` or `plugins`",
    "precision": "`precision` or `plugins`",
}


class DDPStrategy(Strategy):
    """Trains one replica of the module in each process with torch's `DistributedDataParallel`.

    Gradients are averaged over ranks while backward runs, in the last micro-batch of an accumulation window only. Each
    rank evaluates its own share, with the plain module.

    Args:
        ddp_comm_state: the state of the communication hook.
        ddp_comm_hook: how gradients travel, e.g. torch's ``fp16_compress_hook``.
        ddp_comm_wrapper: wraps that hook, e.g. torch's ``fp16_compress_wrapper``.
        model_averaging_period: with torch's post-local-SGD hook: every how many steps weights are averaged.
        process_group_backend: torch's name of a backend; ``None``: what fits the device.
        timeout: how long a collective may wait for other ranks before the job fails.
        start_method: "popen" runs the script again for every further local rank; "spawn", "fork" and "forkserver" start
            processes with the function. Nothing is started where torchrun, SLURM or MPI has started the processes.
        preemption_check_every: at how many optimizer steps ranks tell each other of signals and stop requests.
        arguments: those of torch's `DistributedDataParallel`: ``find_unused_parameters`` (by default on in manual
            optimization with several optimizers, else off), ``static_graph``, ``gradient_as_bucket_view``,
            ``broadcast_buffers``, ``bucket_cap_mb``, ...

    Raises:
        TypeError: for an argument that neither takes.

    Example::

        Trainer(devices=2, strategy=DDPStrategy(static_graph=True, timeout=timedelta(minutes=5)))
    """

    def __init__(
        self,
        *,
        ddp_comm_state: Any = None,
        ddp_comm_hook: Callable[..., Any] | None = None,
        ddp_comm_wrapper: Callable[..., Any] | None = None,
        model_averaging_period: int | None = None,
        process_group_backend: str | None = None,
        timeout: timedelta | None = DEFAULT_TIMEOUT,
        start_method: StartMethod = "popen",
        preemption_check_every: int = 1,
        **arguments: Any,
    ) -> None:
        _refuse_parts(arguments)
        comm_hook = None if ddp_comm_hook is None else CommHook(ddp_comm_hook, ddp_comm_state, ddp_comm_wrapper)
        self._job = JobProcesses(
            backend=process_group_backend,
            timeout=timeout or DEFAULT_TIMEOUT,
            start_method=start_method,
            preemption_check_every=preemption_check_every,
        )
        self._wrapping = Wrapping({name: value for name, value in arguments.items() if value is not None}, comm_hook)
        self._averaging = ModelAveraging.of(ddp_comm_state, model_averaging_period)
        self._assembly: Assembly | None = None
        self._precision: Precision
        self._modules: list[tuple[nn.Module, frozenset[str]]] = []
        self._window: RanksWindow | None = None

    # --- before launching ---

    def connect(self, assembly: Assembly) -> None:
        if assembly.sync_batchnorm:
            refuse_on_cpu(assembly.accelerator)
        self._assembly = assembly
        self._precision = assembly.precision
        self._wrapping.clear()
        self._modules.clear()
        self._window = None
        self._job.connect(assembly)

    def supports(self, part: Precision | Accelerator | Capability) -> bool:
        if isinstance(part, Accelerator):
            return part.name != "mps"  # torch has no collectives there
        return part is not Capability.SAVING_IN_WINDOW  # each rank has gradients of its own until the window's end

    @property
    def launcher(self) -> Launcher | None:
        return self._job.launcher

    @property
    def default_checkpoint_io(self) -> str:
        return "torch" if plugins.is_installed("checkpoint_ios", "torch") else "local"

    # --- who am I ---

    @property
    def root_device(self) -> torch.device:
        return self._job.ranks.device

    @property
    def global_rank(self) -> int:
        return self._job.ranks.global_rank

    @property
    def local_rank(self) -> int:
        return self._job.ranks.local_rank

    @property
    def node_rank(self) -> int:
        return self._job.ranks.node_rank

    @property
    def world_size(self) -> int:
        return self._job.ranks.world_size

    @property
    def is_global_zero(self) -> bool:
        return self._job.ranks.global_rank == 0

    @property
    def distributed_sampler_kwargs(self) -> Mapping[str, int] | None:
        return self._job.distributed_sampler_kwargs

    # --- set-up ---

    def setup_environment(self) -> None:
        self._job.join()

    def init_context(self, *, empty_init: bool | None = None) -> AbstractContextManager[None]:
        return on_device(self.root_device, empty_init=empty_init)

    def setup(
        self,
        module: nn.Module,
        make_optimizers: Callable[[], Sequence[Optimizer]] | None,
        *,
        move_to_device: bool = True,
    ) -> tuple[nn.Module, list[Optimizer]]:
        is_trained = make_optimizers is not None and any(one.requires_grad for one in module.parameters())
        own_layers = synced_layers(module)
        if is_trained and self._parts.sync_batchnorm:
            module = with_synced_batchnorm(module)
        if move_to_device:
            module.to(self.root_device)
        self._modules.append((module, own_layers))
        optimizers = [] if make_optimizers is None else list(make_optimizers())
        if is_trained:
            return self._wrapping.wrap(module, self.root_device, num_optimizers=len(optimizers)), optimizers
        _send_from_rank_zero(module)
        return module, optimizers

    def setup_optimizers(self, optimizers: Sequence[Optimizer]) -> list[Optimizer]:
        return list(optimizers)

    def setup_dataloader(self, loader: Any) -> Any:
        return loader

    # --- a step ---

    def bind_step(self, module: nn.Module, name: str) -> Callable[..., Any]:
        return self._wrapping.bind_step(module, name)

    def open_window(self, length: int) -> AccumulationWindow:
        if self._window is None:
            sync = DDPGradientSync(self._wrapping.wrappers, self.root_device)
            self._window = RanksWindow(sync, device=self.root_device)
        self._window.reopen(length)
        return self._window

    def no_backward_sync(self, module: nn.Module, *, enabled: bool = True) -> AbstractContextManager[None]:
        wrapped = self._wrapping.wrapper_of(module)
        if not enabled or wrapped is None:
            return nullcontext()
        return self._wrapping.unsynchronised(wrapped)

    def backward(self, loss: Tensor, run_backward: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        if self._wrapping.manual:
            self._wrapping.prepare_backward(loss)
        self._precision.backward(loss, run_backward, *args, **kwargs)

    def optimizer_step(
        self,
        optimizer: Optimizer,
        closure: Callable[[], Any],
        before_step: Callable[[Optimizer], None],
        **kwargs: Any,
    ) -> Any:
        result = self._precision.optimizer_step(optimizer, closure, before_step, **kwargs)
        if self._averaging is not None:
            self._averaging.after_step(optimizer)
        return result

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
        return self._job.reduce(tensor, op=op, group=group)

    def all_gather(self, tensor: Tensor, *, group: Any = None, sync_grads: bool = False) -> Tensor:
        return collectives.all_gather(tensor, group=group, sync_grads=sync_grads)

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        return self._job.broadcast(obj, src)

    def barrier(self, name: str = "", *, patient: bool = False) -> None:
        self._job.barrier(name, patient=patient)

    def open_flag_exchange(self, every: int | None = None) -> FlagExchange | None:
        return self._job.open_flag_exchange(every)

    # --- state ---

    def module_state(self, module: nn.Module) -> dict[str, Any]:
        return plain_module(module).state_dict()

    def load_module_state(self, module: nn.Module, state: Mapping[str, Any], *, strict: bool = True) -> Any:
        return load_state_dict_clearly(plain_module(module), state, strict=strict)

    def optimizer_state(self, module: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
        consolidate = getattr(optimizer, "consolidate_state_dict", None)  # torch's ZeroRedundancyOptimizer has it
        if consolidate is not None:
            consolidate()
            return optimizer.state_dict() if self.is_global_zero else {}
        return optimizer.state_dict()

    def load_optimizer_state(self, module: nn.Module, optimizer: Optimizer, state: Mapping[str, Any]) -> None:
        load_optimizer_state(plain_module(module), optimizer, state)

    # --- the end ---

    def announce_failure(self, failure: BaseException, *, step: int | None = None) -> BaseException:
        return self._job.announce_failure(failure, step=step)

    def teardown(self) -> None:
        for module, own_layers in self._modules:
            if self._parts.sync_batchnorm:
                without_synced_batchnorm(module, keep=own_layers)
            if self.root_device.type != "cpu":
                module.cpu()
        self._modules.clear()
        self._wrapping.clear()
        self._job.leave()

    @property
    def _parts(self) -> Assembly:
        assert self._assembly is not None  # `connect` comes first
        return self._assembly


def _send_from_rank_zero(module: nn.Module) -> None:
    """Give every rank the weights and buffers of rank 0, as wrapping a module for training does."""
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            for plain in _plain_tensors(tensor):
                dist.broadcast(plain, src=0)


def _plain_tensors(tensor: Any) -> Iterator[Tensor]:
    """Return what a tensor is made of: classes of quantised weights can't be sent, their integers and scales can."""
    if is_traceable_wrapper_subclass(tensor):
        for name in tensor.__tensor_flatten__()[0]:
            yield from _plain_tensors(getattr(tensor, name))
    else:
        yield tensor


def _refuse_parts(arguments: Mapping[str, Any]) -> None:
    """Refuse the parts of a run that belong to the Trainer's or Fabric's arguments."""
    for name, argument in _ELSEWHERE.items():
        if arguments.get(name) is not None:
            message = f"`DDPStrategy({name}=...)` isn't taken: give it to the Trainer or Fabric as {argument}."
            raise MisconfigurationException(message)
