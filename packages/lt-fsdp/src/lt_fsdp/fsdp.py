"""The strategy of one model whose parameters, gradients and optimizer state are sharded over processes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lt_fsdp.arguments import ignored_parameters, mixed_precision_policy, offload_policy, refuse_trained, reshards
from lt_fsdp.meshes import check_hybrid_sizes, sharding_mesh
from lt_fsdp.meta import made_on_meta
from lt_fsdp.sharding import Layout, Sharder, sharded_tops
from lt_fsdp.training import ShardedTraining, StateDictType
from lt_interfaces import (
    Accelerator,
    AccumulationWindow,
    Assembly,
    Capability,
    FlagExchange,
    Launcher,
    Placement,
    Precision,
    Strategy,
)
from lt_interfaces.clipping import clip_gradients
from lt_interfaces.empty_init import on_device
from lt_strategies import collectives
from lt_strategies.job_processes import DEFAULT_TIMEOUT, JobProcesses
from lt_strategies.layer_sync import refuse_on_cpu, with_synced_batchnorm

CANT: Final = (
    Capability.SAVING_IN_WINDOW,  # each rank has gradients of its own until the window's end
    Capability.INFERENCE_MODE,  # weights gathered in it couldn't be trained afterwards
    Capability.UNEVEN_EVALUATION,  # all ranks gather the weights for each batch
)


class FSDPStrategy(Strategy):
    """Shards one model over all processes with torch's FSDP2 (`torch.distributed.fsdp.fully_shard`).

    Each process keeps a part of every parameter, of its gradient and of its optimizer state. Units of the model, such
    as its blocks, are gathered when they're used and freed afterwards. Each process trains on its own share of data.

    Args:
        process_group_backend: torch's name of a backend; ``None``: what fits the device.
        timeout: how long a collective may wait for other ranks before the job fails.
        cpu_offload: keep shards on the CPU while they aren't used; a bool, or torch's ``CPUOffloadPolicy``.
        mixed_precision: torch's ``MixedPrecisionPolicy``, instead of the formats that ``precision`` says.
        auto_wrap_policy: what's a unit: classes of modules, a function ``(module) -> bool``, or one of torch's
            policies; ``None``: the blocks that the model repeats.
        activation_checkpointing_policy: the layers whose activations are computed again in backward, in the same terms.
        sharding_strategy: "FULL_SHARD" frees units after forward, "SHARD_GRAD_OP" keeps them for backward,
            "HYBRID_SHARD" shards within each node (or as ``device_mesh`` says) and replicates over nodes.
        reshard_after_forward: the same in torch's words: a bool, or over how many ranks units stay sharded.
        state_dict_type: "full" checkpoints are one file of whole tensors, made on rank 0; "sharded" ones a folder that
            every process writes its part of. Either is loaded by any strategy, on any number of processes.
        device_mesh: (replicas, shards), whose product is the number of processes; or a mesh.
        preemption_check_every: at how many optimizer steps ranks tell each other of signals and stop requests.
        arguments: ``ignored_states``: parameters that stay whole. What else Lightning's strategy takes is accepted
            where FSDP2 has it, and refused with what replaces it elsewhere.

    Raises:
        MisconfigurationException: for arguments that contradict each other or that FSDP2 can't follow.
        TypeError: for an argument that nobody knows.
        ValueError: for an unknown name.

    Example::

        Trainer(devices=8, strategy=FSDPStrategy(auto_wrap_policy={Block}, state_dict_type="sharded"))

    Source: `torch.distributed.fsdp.fully_shard`; Zhao et al., "PyTorch FSDP" (2023).
    """

    def __init__(
        self,
        *,
        process_group_backend: str | None = None,
        timeout: timedelta | None = DEFAULT_TIMEOUT,
        cpu_offload: Any = None,
        mixed_precision: Any = None,
        auto_wrap_policy: Any = None,
        activation_checkpointing: Any = None,
        activation_checkpointing_policy: Any = None,
        sharding_strategy: Any = "FULL_SHARD",
        reshard_after_forward: bool | int | None = None,
        state_dict_type: StateDictType = "full",
        device_mesh: Any = None,
        preemption_check_every: int = 1,
        **arguments: Any,
    ) -> None:
        recomputed = activation_checkpointing_policy or activation_checkpointing
        reshard, is_hybrid = reshards(sharding_strategy, reshard_after_forward)
        self._layout = Layout(
            auto_wrap_policy,
            reshard,
            recomputed,
            ignored_parameters(arguments),
            offload=cpu_offload,
            mixed_precision=mixed_precision,
            mesh=device_mesh,
            is_hybrid=is_hybrid,
        )
        self._job = JobProcesses(
            backend=process_group_backend,
            timeout=timeout or DEFAULT_TIMEOUT,
            preemption_check_every=preemption_check_every,
        )
        self._training = ShardedTraining(state_dict_type)
        self._assembly: Assembly | None = None
        self._sharder: Sharder | None = None
        self._leaves_weights_open = False

    # --- before launching ---

    def connect(self, assembly: Assembly) -> None:
        if assembly.sync_batchnorm:
            refuse_on_cpu(assembly.accelerator)
        self._assembly = assembly
        self._training.clear()
        self._sharder = None
        self._job.connect(assembly)
        if isinstance(self._layout.mesh, tuple | list):
            check_hybrid_sizes(self._layout.mesh, self.world_size)

    def supports(self, part: Precision | Accelerator | Capability) -> bool:
        if isinstance(part, Accelerator):
            return part.name != "mps"  # torch has no collectives there
        if isinstance(part, Precision):
            return part.dtypes().is_shardable
        return part not in CANT

    @property
    def launcher(self) -> Launcher | None:
        return self._job.launcher

    @property
    def default_checkpoint_io(self) -> str:
        return self._training.default_checkpoint_io

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
        """Return the context in which a module is created: on the meta device, from where units get memory one by one.

        Args:
            empty_init: ``True`` leaves their values open, as a checkpoint brings them; ``False`` makes the module
                on the CPU, whole.
        """
        self._leaves_weights_open = bool(empty_init)
        return on_device(torch.device("cpu")) if empty_init is False else made_on_meta()

    def setup(
        self,
        module: nn.Module,
        make_optimizers: Callable[[], Sequence[Optimizer]] | None,
        *,
        move_to_device: bool = True,
    ) -> tuple[nn.Module, list[Optimizer]]:
        if self._parts.sync_batchnorm and make_optimizers is not None:
            module = with_synced_batchnorm(module)
        if make_optimizers is not None:
            refuse_trained(module, self._layout.ignored)
        return module, self._training.take(module, self._shard, make_optimizers)

    def _shard(self, module: nn.Module) -> None:
        if any(sharded_tops(module)):
            return  # by an earlier run or its owner
        if self._sharder is None:
            self._sharder = self._new_sharder()
        self._sharder.shard(module, initialise=not self._leaves_weights_open)
        self._leaves_weights_open = False

    def _new_sharder(self) -> Sharder:
        assembly, device, layout = self._parts, self.root_device, self._layout
        return Sharder(
            layout=layout,
            mesh=sharding_mesh(
                layout.mesh,
                is_hybrid=layout.is_hybrid,
                num_nodes=assembly.num_nodes,
                world_size=self.world_size,
                device=device,
            ),
            device=device,
            mixed_precision=mixed_precision_policy(layout.mixed_precision, assembly.precision.dtypes()),
            offload=offload_policy(layout.offload, device),
        )

    def setup_optimizers(self, optimizers: Sequence[Optimizer]) -> list[Optimizer]:
        return self._training.take_optimizers(optimizers)

    def setup_dataloader(self, loader: Any) -> Any:
        return loader

    # --- a step ---

    def bind_step(self, module: nn.Module, name: str) -> Callable[..., Any]:
        return self._training.bind_step(module, name)

    def open_window(self, length: int) -> AccumulationWindow:
        return self._training.open_window(length, device=self.root_device)

    def no_backward_sync(self, module: nn.Module, *, enabled: bool = True) -> AbstractContextManager[None]:
        return self._training.no_backward_sync(module, enabled=enabled)

    def backward(self, loss: Tensor, run_backward: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        self._parts.precision.backward(loss, run_backward, *args, **kwargs)

    def optimizer_step(
        self,
        optimizer: Optimizer,
        closure: Callable[[], Any],
        before_step: Callable[[Optimizer], None],
        **kwargs: Any,
    ) -> Any:
        return self._parts.precision.optimizer_step(optimizer, closure, before_step, **kwargs)

    @property
    def step_was_skipped(self) -> bool:
        return self._parts.precision.step_was_skipped

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

    @property
    def restores_after_setup(self) -> bool:
        return True

    def placement(self, target: nn.Module | Optimizer) -> Placement:
        return self._training.placement(target)

    def module_state(self, module: nn.Module) -> dict[str, Any]:
        return self._training.module_state(module, is_rank_zero=self.is_global_zero)

    def load_module_state(self, module: nn.Module, state: Mapping[str, Any], *, strict: bool = True) -> Any:
        return self._training.load_module_state(module, state, strict=strict)

    def optimizer_state(self, module: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
        return self._training.optimizer_state(optimizer, is_rank_zero=self.is_global_zero)

    def load_optimizer_state(self, module: nn.Module, optimizer: Optimizer, state: Mapping[str, Any]) -> None:
        self._training.load_optimizer_state(module, optimizer, state)

    # --- the end ---

    def announce_failure(self, failure: BaseException, *, step: int | None = None) -> BaseException:
        return self._job.announce_failure(failure, step=step)

    def teardown(self) -> None:
        """Leave the job. Modules stay sharded: whole, they may fit nowhere; a checkpoint loads into a whole one."""
        self._training.clear()
        self._job.leave()

    @property
    def _parts(self) -> Assembly:
        assert self._assembly is not None  # `connect` comes first
        return self._assembly
