"""The strategy of models whose layers are computed by several ranks together, replicated or sharded over others."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.optim import Optimizer

from lt_fsdp.fsdp import CANT
from lt_fsdp.meshes import Size, sizes_of
from lt_fsdp.meta import made_on_meta
from lt_fsdp.parallel_layout import Parallelize, ParallelLayout
from lt_fsdp.pipelined_state import clip_gradients as clip_stages
from lt_fsdp.pipelined_training import PipelinedTraining
from lt_fsdp.plan import ParallelPlan
from lt_fsdp.tensor_styles import divide
from lt_fsdp.training import ShardedTraining
from lt_interfaces import (
    Accelerator,
    AccumulationWindow,
    Assembly,
    Capability,
    FlagExchange,
    Launcher,
    MisconfigurationException,
    Placement,
    Precision,
    Strategy,
)
from lt_interfaces.clipping import clip_gradients
from lt_interfaces.empty_init import on_device
from lt_strategies import collectives
from lt_strategies.job_processes import DEFAULT_TIMEOUT, JobProcesses

_CANT = (*CANT, Capability.SYNC_BATCHNORM, Capability.COMPILED_MODULE, Capability.TRIAL_RUN)


class ModelParallelStrategy(Strategy):
    """Lets several ranks compute each layer together (tensor parallelism), and others train on different samples.

    The ranks are laid out in a mesh with the dimensions "data_parallel" and "tensor_parallel". You divide the model in
    `configure_model`, with torch's `parallelize_module` over ``self.device_mesh["tensor_parallel"]``, and may shard
    parts of it with `fully_shard` over ``self.device_mesh["data_parallel"]``. What you leave whole is sharded over the
    data-parallel ranks, if there are several, as `FSDPStrategy` would do it, so that everything is trained on the
    samples of all ranks. Ranks that compute a layer together get the same samples and draw the same random numbers.

    In Fabric, which knows no `configure_model`, divide the module before it's set up, or give ``parallelize_fn``.

    Args:
        parallelize_fn: ``(module, device_mesh)`` divides a module in place and returns it; called when it's set up.
        data_parallel_size: how many groups of ranks train on different samples; "auto": one per node.
        tensor_parallel_size: how many ranks compute each layer together; "auto": those of a node, or what
            ``data_parallel_size`` leaves.
        save_distributed_checkpoint: ``True``: a checkpoint is a folder that every process writes its part of;
            ``False``: one file of whole tensors, made on rank 0. Either is loaded by any strategy, on any number of
            processes.
        process_group_backend: torch's name of a backend; ``None``: what fits the device.
        timeout: how long a collective may wait for other ranks before the job fails.
        preemption_check_every: at how many optimizer steps ranks tell each other of signals and stop requests.
        plan: says all that beforehand, instead of sizes and ``parallelize_fn``: the module is made whole (on the meta
            device, if need be), and divided, sharded or made a pipeline by the plan when it's set up. A pipeline's
            checkpoints are one file: it takes ``save_distributed_checkpoint=False``.

    Raises:
        MisconfigurationException: ``plan`` was given beside what it replaces or can't be combined with.
        TypeError: ``parallelize_fn`` can't be called.

    Example::

        class Net(LightningModule):
            def configure_model(self) -> None:
                self.mlp = MLP()
                styles = {"up": ColwiseParallel(), "down": RowwiseParallel()}
                parallelize_module(self.mlp, self.device_mesh["tensor_parallel"], styles)


        Trainer(devices=8, strategy=ModelParallelStrategy(data_parallel_size=4, tensor_parallel_size=2))

    Source: `torch.distributed.tensor.parallel`; Shoeybi et al., "Megatron-LM" (2019).
    """

    def __init__(
        self,
        parallelize_fn: Any = None,
        *,
        data_parallel_size: Size = "auto",
        tensor_parallel_size: Size = "auto",
        save_distributed_checkpoint: bool = True,
        process_group_backend: str | None = None,
        timeout: timedelta | None = DEFAULT_TIMEOUT,
        preemption_check_every: int = 1,
        plan: ParallelPlan | None = None,
    ) -> None:
        if not (parallelize_fn is None or callable(parallelize_fn)):
            message = (
                f"`parallelize_fn={parallelize_fn!r}` must be a function `(module, device_mesh) -> module`. Give"
                " `data_parallel_size` and `tensor_parallel_size` by name."
            )
            raise TypeError(message)
        if plan is not None and (parallelize_fn, data_parallel_size, tensor_parallel_size) != (None, "auto", "auto"):
            message = (
                "`plan` says how ranks lie and how layers are divided, so leave out `data_parallel_size`,"
                " `tensor_parallel_size` and `parallelize_fn`."
            )
            raise MisconfigurationException(message)
        self._sizes_asked = (data_parallel_size, tensor_parallel_size)
        self._plan = plan
        self._parallelize: Parallelize | None = parallelize_fn
        self._job = JobProcesses(
            backend=process_group_backend,
            timeout=timeout or DEFAULT_TIMEOUT,
            preemption_check_every=preemption_check_every,
        )
        self._training = _training_of(plan, save_distributed_checkpoint=save_distributed_checkpoint)
        self._assembly: Assembly | None = None
        self._parallel: ParallelLayout | None = None
        self._leaves_weights_open = False

    # --- before launching ---

    def connect(self, assembly: Assembly) -> None:
        self._assembly = assembly
        self._training.clear()
        self._job.connect(assembly)
        if self._plan is not None:
            sizes, divides = self._plan.sizes(self.world_size), partial(divide, styles=self._plan.tensor_styles)
            self._parallel = ParallelLayout(sizes, divides, self._plan)
        else:
            data, tensor = self._sizes_asked
            sizes = sizes_of(data, tensor, num_nodes=assembly.num_nodes, world_size=self.world_size)
            self._parallel = ParallelLayout(sizes, self._parallelize, ParallelPlan())

    def supports(self, part: Precision | Accelerator | Capability) -> bool:
        if isinstance(part, Accelerator):
            return part.name != "mps"  # torch has no collectives there
        if isinstance(part, Precision):
            dtypes = part.dtypes()
            return dtypes.is_shardable and not dtypes.scales_loss
        return part not in _CANT

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
        sizes = self._layout.sizes
        return {"num_replicas": sizes.data, "rank": self.global_rank // sizes.together}

    @property
    def sample_group(self) -> Any:
        return self._layout.data_group(self.root_device)

    @property
    def device_mesh(self) -> DeviceMesh:
        """The ranks of the job, with the dimensions "data_parallel" and "tensor_parallel"; collective at first.

        A plan with replicas has "replicate" and "shard" instead of "data_parallel"; one with a pipeline, "pipeline".

        Raises:
            RuntimeError: the processes of the job haven't met yet.
        """
        return self._layout.mesh_on(self.root_device)

    # --- set-up ---

    def setup_environment(self) -> None:
        self._job.join()
        self._layout.may_communicate = True

    def init_context(self, *, empty_init: bool | None = None) -> AbstractContextManager[None]:
        """Return the context in which a module is created: on this rank's device.

        Where that's too much, create it within ``torch.device("meta")``, divide it, and leave giving it memory to
        `setup`: each layer then has only its parts.

        Args:
            empty_init: ``True`` creates it on the meta device, with values left open, as a checkpoint brings them.
        """
        self._leaves_weights_open = bool(empty_init)
        return made_on_meta() if empty_init else on_device(self.root_device)

    def setup(
        self,
        module: nn.Module,
        make_optimizers: Callable[[], Sequence[Optimizer]] | None,
        *,
        move_to_device: bool = True,
    ) -> tuple[nn.Module, list[Optimizer]]:
        return module, self._training.take(module, self._lay_out, make_optimizers)

    def _lay_out(self, module: nn.Module) -> None:
        self._layout.lay_out(
            module,
            device=self.root_device,
            dtypes=self._parts.precision.dtypes(),
            initialise=not self._leaves_weights_open,
        )
        self._leaves_weights_open = False

    def setup_optimizers(self, optimizers: Sequence[Optimizer]) -> list[Optimizer]:
        return self._training.take_optimizers(optimizers)

    def setup_dataloader(self, loader: Any) -> Any:
        return loader

    # --- a step ---

    def bind_step(self, module: nn.Module, name: str) -> Callable[..., Any]:
        return self._training.bind_step(module, name)

    def open_window(self, length: int) -> AccumulationWindow:
        group = self._layout.data_group(self.root_device)
        return self._training.open_window(length, device=self.root_device, group=group)

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
        is_pipeline = self._layout.sizes.pipeline > 1
        clip = partial(clip_stages, device=self.root_device) if is_pipeline else clip_gradients
        return clip(
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
        """Leave the job. Modules stay divided: whole, they may fit nowhere; a checkpoint loads into a whole one."""
        self._training.clear()
        self._layout.clear()
        self._job.leave()

    @property
    def _layout(self) -> ParallelLayout:
        assert self._parallel is not None  # `connect` comes first
        return self._parallel

    @property
    def _parts(self) -> Assembly:
        assert self._assembly is not None  # `connect` comes first
        return self._assembly


def _training_of(
    plan: ParallelPlan | None, *, save_distributed_checkpoint: bool
) -> ShardedTraining | PipelinedTraining:
    if plan is None or plan.pipeline == 1:
        return ShardedTraining("sharded" if save_distributed_checkpoint else "full")
    if save_distributed_checkpoint:
        message = (
            f"`pipeline={plan.pipeline!r}` saves checkpoints as one file of whole tensors, not as a folder that every"
            " process writes its part of. Give `save_distributed_checkpoint=False`."
        )
        raise MisconfigurationException(message)
    return PipelinedTraining()
