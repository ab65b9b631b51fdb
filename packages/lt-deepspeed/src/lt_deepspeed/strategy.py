"""The strategy that trains with DeepSpeed's ZeRO: states, gradients and parameters shared out over ranks."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import timedelta
from typing import Any, Final, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from lt_deepspeed import portable
from lt_deepspeed.config import completed, config_of, engine_dtype
from lt_deepspeed.engine_folder import folder_in, read_engine, shards_of, whole_weights
from lt_deepspeed.engines import EngineModule, deepspeed_in, parameters_of, plain_module
from lt_deepspeed.installation import deepspeed, require_deepspeed
from lt_deepspeed.options import options_from
from lt_deepspeed.window import EngineWindow
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
from lt_interfaces.empty_init import on_device
from lt_interfaces.portable_state import optimizer_state_to_names
from lt_strategies import JobProcesses, collectives
from lt_strategies.job_processes import DEFAULT_TIMEOUT, StartMethod

_UNSUPPORTED: Final = (
    Capability.SEVERAL_OPTIMIZERS,
    Capability.CLIP_BY_VALUE,
    Capability.SAVING_IN_WINDOW,
    Capability.SYNC_BATCHNORM,
    Capability.TRIAL_RUN,  # the engine holds copies of weights and moments that torch's optimizer doesn't know of
    Capability.WEIGHTED_LOSSES,
)
_EVALUATING: Final = ("validation_step", "test_step", "predict_step")
_ELSEWHERE: Final = {
    "accelerator": "`accelerator`",
    "parallel_devices": "`devices`",
    "cluster_environment": "`plugins`",
    "checkpoint_io": "`plugins`",
    "precision_plugin": "`precision` or `plugins`",
    "precision": "`precision` or `plugins`",
}


class DeepSpeedStrategy(Strategy):
    """Trains with DeepSpeed's engine, which shares a model's states out over ranks (ZeRO).

    Args:
        config: a DeepSpeed config, or the path of one, taken as it is; else the file that the environment's
            ``PL_DEEPSPEED_CONFIG_PATH`` names; else one made from the arguments.
        state_dict_type: what checkpoints hold: "full", one file that all strategies load, or "sharded", a folder that
            the engine writes its shards into (`DeepSpeedCheckpointIO`).
        process_group_backend: torch's name of a backend; ``None``: what fits the device.
        timeout: how long a collective may wait for other ranks before the job fails.
        start_method: how local processes start, as for `lt_strategies.DDPStrategy`.
        preemption_check_every: at how many optimizer steps ranks tell each other of signals and stop requests.
        arguments: those of `lt_deepspeed.ZeroOptions`: ``stage``, ``offload_optimizer``, ``offload_parameters``, ...

    Raises:
        MisconfigurationException: arguments contradict each other or the config; the message names both sides.
        TypeError: for an argument that there isn't.

    Example::

        Trainer(devices=2, strategy=DeepSpeedStrategy(stage=3, offload_optimizer=True))
    """

    def __init__(
        self,
        *,
        config: Mapping[str, Any] | str | os.PathLike[str] | None = None,
        state_dict_type: Literal["full", "sharded"] = "full",
        process_group_backend: str | None = None,
        timeout: timedelta | None = DEFAULT_TIMEOUT,
        start_method: StartMethod = "popen",
        preemption_check_every: int = 1,
        **arguments: Any,
    ) -> None:
        _refuse_parts(arguments)
        if state_dict_type not in ("full", "sharded"):
            message = f"`state_dict_type={state_dict_type!r}` must be 'full' or 'sharded'."
            raise ValueError(message)
        self._is_saved_in_shards = state_dict_type == "sharded"
        options = options_from({name: value for name, value in arguments.items() if name not in _ELSEWHERE})
        self._source = config_of(options, config)
        self._job = JobProcesses(
            backend=process_group_backend,
            timeout=timeout or DEFAULT_TIMEOUT,
            start_method=start_method,
            preemption_check_every=preemption_check_every,
        )
        self._assembly: Assembly | None = None
        self._config: dict[str, Any] = {}
        self._modules: list[EngineModule] = []
        self._window = EngineWindow(self._trained)
        self._surroundings = ExitStack()

    # --- before launching ---

    def connect(self, assembly: Assembly) -> None:
        require_deepspeed()
        _refuse_assembly(assembly)
        self._config = completed(self._source, assembly.precision)
        self._assembly = assembly
        self._close_engines()
        self._job.connect(assembly)

    def supports(self, part: Precision | Accelerator | Capability) -> bool:
        if isinstance(part, Accelerator):
            return part.name != "mps"  # torch has no collectives there
        if isinstance(part, Precision):
            return part.precision.startswith(("32", "bf16", "16"))
        if part is Capability.UNEVEN_EVALUATION:
            return self._stage < 3  # layers gather their parameters, which takes all ranks
        return part not in _UNSUPPORTED

    @property
    def launcher(self) -> Launcher | None:
        return self._job.launcher

    @property
    def default_checkpoint_io(self) -> str:
        if self._is_saved_in_shards:
            return "deepspeed"
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
        self._surroundings.close()  # of a run that was never torn down
        self._surroundings.enter_context(
            deepspeed_in(self._job.ranks, logging_level=self._source.options.logging_level)
        )
        self._job.barrier("DeepSpeed is built", patient=False)  # a rank may have compiled for a while

    def init_context(self, *, empty_init: bool | None = None) -> AbstractContextManager[Any]:
        if self._stage < 3 or not dist.is_initialized():
            return on_device(self.root_device, empty_init=empty_init)
        init: AbstractContextManager[Any] = deepspeed().zero.Init(
            config_dict_or_path=self._config,
            dtype=engine_dtype(self._parts.precision),
            remote_device=self._source.options.remote_device,
            pin_memory=self._source.options.pin_memory,
        )
        return init

    def setup(
        self,
        module: nn.Module,
        make_optimizers: Callable[[], Sequence[Optimizer]] | None,
        *,
        move_to_device: bool = True,
    ) -> tuple[nn.Module, list[Optimizer]]:
        if move_to_device and not portable.is_sharded(module):
            module.to(self.root_device)
        is_trained = make_optimizers is not None and any(one.requires_grad for one in module.parameters())
        optimizers = [] if make_optimizers is None else list(make_optimizers())
        if not is_trained and self._stage < 3:
            _send_from_rank_zero(module)
            return module, optimizers
        placed = EngineModule(module, self._config, excludes_frozen=self._source.options.exclude_frozen_parameters)
        self._modules.append(placed)
        if make_optimizers is None:
            placed.evaluate()
        return placed, self.setup_optimizers(optimizers)

    def setup_optimizers(self, optimizers: Sequence[Optimizer]) -> list[Optimizer]:
        for optimizer in optimizers:
            held = parameters_of([optimizer])
            placed = [one for one in self._modules if any(id(parameter) in held for parameter in one.parameters())]
            if len(placed) != 1 or len([one for one in optimizers if parameters_of([one]) & _ids(placed[0])]) > 1:
                _refuse_optimizers(optimizers, len(placed))
            placed[0].train_with(optimizer)
        return list(optimizers)

    def setup_dataloader(self, loader: Any) -> Any:
        return loader

    # --- a step ---

    def bind_step(self, module: nn.Module, name: str) -> Callable[..., Any]:
        placed = self._placed(module)
        original = plain_module(module)
        if placed is None or (name in _EVALUATING and self._stage < 3):
            step: Callable[..., Any] = getattr(original, name)
            return step
        return placed.stepping(name)

    def open_window(self, length: int) -> AccumulationWindow:
        self._window.reopen(length)
        return self._window

    @contextmanager
    def no_backward_sync(self, module: nn.Module, *, enabled: bool = True) -> Any:
        placed = self._placed(module)
        if not enabled or placed is None:
            yield
            return
        placed.set_boundary(False)
        try:
            yield
        finally:
            placed.set_boundary(True)

    def backward(self, loss: Tensor, run_backward: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        trained = self._trained()
        if len(trained) == 1:
            trained[0].backward(loss, run_backward, *args, **kwargs)
        else:
            run_backward(loss, *args, **kwargs)  # each engine's hooks do the rest

    def optimizer_step(
        self,
        optimizer: Optimizer,
        closure: Callable[[], Any],
        before_step: Callable[[Optimizer], None],
        **kwargs: Any,
    ) -> Any:
        result = closure()
        before_step(optimizer)
        module = self._trained_by(optimizer)
        module.step()
        self._window.was_skipped = not module.engine.was_step_applied()
        return result

    @property
    def step_was_skipped(self) -> bool:
        return self._window.was_skipped

    def clip_gradients(
        self,
        parameters: Iterable[Tensor],
        *,
        max_norm: float | None = None,
        clip_value: float | None = None,
        norm_type: float = 2.0,
        error_if_nonfinite: bool = False,
    ) -> Tensor | None:
        if max_norm is None:
            message = (
                f"`DeepSpeedStrategy` can't clip by value ({clip_value}): gradients lie in its engine, sharded. Clip by"
                " norm: `gradient_clip_algorithm='norm'`, or `max_norm=...`."
            )
            raise MisconfigurationException(message)
        if norm_type != 2:
            message = f"`norm_type={norm_type}`: DeepSpeed's engine clips by the norm of type 2 alone."
            raise MisconfigurationException(message)
        held = {id(one) for one in parameters}
        placed = [one for one in self._trained() if _ids(one) & held]
        if len(placed) != 1:
            message = f"These parameters belong to {len(placed)} modules that engines train; clip one's at a time."
            raise MisconfigurationException(message)
        norm = placed[0].clip(max_norm)
        if error_if_nonfinite and not torch.isfinite(norm):
            message = f"The norm of the gradients is {norm.item()}, so they can't be clipped."
            raise RuntimeError(message)
        return norm

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

    def module_state(self, module: nn.Module) -> dict[str, Any]:
        placed = self._placed(module)
        if self._is_saved_in_shards and placed is not None:
            return shards_of(placed)
        return portable.module_state(plain_module(module), placed)

    def load_module_state(self, module: nn.Module, state: Mapping[str, Any], *, strict: bool = True) -> Any:
        folder, placed = folder_in(state), self._placed(module)
        if folder is not None:
            if placed is not None and placed.optimizer is not None:
                read_engine(placed, folder, strict=strict)
                return None
            state = whole_weights(folder)
        return portable.load_module_state(plain_module(module), state, placed=placed, strict=strict)

    def optimizer_state(self, module: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
        if self._is_saved_in_shards:
            # The settings; the rest lies with the weights. By name, as engines have it.
            return optimizer_state_to_names(self._trained_by(optimizer).module, optimizer)
        return portable.optimizer_state(self._trained_by(optimizer))

    def load_optimizer_state(self, module: nn.Module, optimizer: Optimizer, state: Mapping[str, Any]) -> None:
        portable.load_optimizer_state(self._trained_by(optimizer), state)

    # --- the end ---

    def announce_failure(self, failure: BaseException, *, step: int | None = None) -> BaseException:
        return self._job.announce_failure(failure, step=step)

    def teardown(self) -> None:
        """Leave the engines as they are: who saves a checkpoint after a fit needs them. The next run closes them."""
        self._surroundings.close()
        self._job.leave()

    def _close_engines(self) -> None:
        for placed in self._modules:
            placed.close()
            if self.root_device.type != "cpu" and not portable.is_sharded(placed.module):
                placed.module.cpu()
        self._modules.clear()

    @property
    def _parts(self) -> Assembly:
        assert self._assembly is not None  # `connect` comes first
        return self._assembly

    @property
    def _stage(self) -> int:
        stage: int = self._source.content["zero_optimization"]["stage"]
        return stage

    def _trained(self) -> list[EngineModule]:
        return [one for one in self._modules if one.optimizer is not None]

    def _placed(self, module: nn.Module) -> EngineModule | None:
        return next((one for one in self._modules if module is one or module is one.module), None)

    def _trained_by(self, optimizer: Optimizer) -> EngineModule:
        for placed in self._trained():
            if placed.optimizer is optimizer:
                return placed
        message = (
            f"This {type(optimizer).__name__} isn't one that `DeepSpeedStrategy` has set up, or another run has begun"
            " since: its state lies in an engine, and there's none."
        )
        raise MisconfigurationException(message)


def _ids(module: nn.Module) -> set[int]:
    return {id(parameter) for parameter in module.parameters()}


def _send_from_rank_zero(module: nn.Module) -> None:
    """Give every rank the weights and buffers of rank 0, as an engine does."""
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            dist.broadcast(tensor, src=0)


def _refuse_optimizers(optimizers: Sequence[Optimizer], num_modules: int) -> None:
    if num_modules != 1:
        message = (
            f"An optimizer holds parameters of {num_modules} modules that were set up. With `DeepSpeedStrategy` each"
            " optimizer trains one module, which is set up with it or before."
        )
    else:
        message = (
            f"`DeepSpeedStrategy` trains a module with one optimizer, and there are {len(optimizers)}. Put all"
            " parameters into one, as param groups, or use `strategy='fsdp'` or 'ddp'."
        )
    raise MisconfigurationException(message)


def _refuse_assembly(assembly: Assembly) -> None:
    """Refuse what DeepSpeed can't do with these parts."""
    precision = assembly.precision
    if assembly.accelerator.name == "cpu" and engine_dtype(precision) is torch.float16:
        message = (
            f"`precision='{precision.precision}'` can't go with `accelerator='cpu'` under `DeepSpeedStrategy`:"
            " DeepSpeed has no fp16 there. Use 'bf16-mixed'."
        )
        raise MisconfigurationException(message)
    if assembly.sync_batchnorm:
        message = (
            "`sync_batchnorm=True` can't go with `DeepSpeedStrategy`. Convert the layers in the module itself, with"
            " `torch.nn.SyncBatchNorm.convert_sync_batchnorm`."
        )
        raise MisconfigurationException(message)


def _refuse_parts(arguments: Mapping[str, Any]) -> None:
    """Refuse the parts of a run that belong to the Trainer's or Fabric's arguments."""
    for name, argument in _ELSEWHERE.items():
        if arguments.get(name) is not None:
            message = f"`DeepSpeedStrategy({name}=...)` isn't taken: give it to the Trainer or Fabric as {argument}."
            raise MisconfigurationException(message)
