"""Fabric: the runtime for a loop of your own."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from os import PathLike
from typing import Any, cast
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lt_fabric.assemble import assemble
from lt_fabric.clipping import clip_gradients_of
from lt_fabric.collecting import first_alone, over_tensors, plain_numbers
from lt_fabric.command_line import is_started_by_command_line, overridden
from lt_fabric.compiled import unwrap_compiled
from lt_fabric.hardware import resolve_hardware
from lt_fabric.launchable import check_launchable, launching, rest_of_script
from lt_fabric.named_hooks import call_hook
from lt_fabric.optimizer_proxy import wrap_optimizer
from lt_fabric.plugin_kinds import listed, require_plugins
from lt_fabric.runtime import set_up_process
from lt_fabric.setting_up import introduce, refuse_wrapped, set_up_loader, set_up_module
from lt_fabric.state_saving import Filter, StateSaving
from lt_fabric.weighted_steps import WeightedSteps
from lt_fabric.wrappers import FabricModule, unwrap_module
from lt_interfaces import Accelerator, Capability, Logger, Strategy
from lt_interfaces.moving import move_data_to_device
from lt_interfaces.rng import seed_everything


class Fabric:
    """Runs a training loop of your own on any hardware, in any precision that's installed.

    The loop stays yours: Fabric places modules, optimizers and loaders, differentiates, saves and loads. On one device
    it's ready at once; with several processes call `launch` first.

    Args:
        accelerator: ``"cpu"``, ``"cuda"``, ``"mps"``, ``"gpu"``, ``"auto"`` or an `Accelerator`.
        strategy: a name, ``"auto"`` or a `Strategy`.
        devices: a number (-1 for all), indices such as ``[0, 2]`` or ``"0,2"``, or ``"auto"``.
        num_nodes: machines of the job.
        precision: a name such as ``"bf16-mixed"``, or a `Precision`; ``None``: ``"32-true"``.
        plugins: a `Precision`, `CheckpointIO` or `ClusterEnvironment`, or several.
        callbacks: objects whose methods `call` calls by name.
        loggers: where `log` goes.

    >>> import torch
    >>> fabric = Fabric(accelerator="cpu")
    >>> model = torch.nn.Linear(2, 1)
    >>> model, optimizer = fabric.setup(model, torch.optim.SGD(model.parameters(), lr=0.1))
    >>> fabric.backward(model(torch.ones(4, 2)).mean())
    >>> optimizer.step()
    """

    def __init__(
        self,
        *,
        accelerator: str | Accelerator = "auto",
        strategy: str | Strategy = "auto",
        devices: int | str | list[int] = "auto",
        num_nodes: int = 1,
        precision: Any = None,
        plugins: Any = None,
        callbacks: Any = None,
        loggers: Logger | Iterable[Logger] | None = None,
    ) -> None:
        require_plugins(plugins)
        chosen = overridden(
            accelerator=accelerator, strategy=strategy, devices=devices, num_nodes=num_nodes, precision=precision
        )
        self._runtime = assemble(resolve_hardware(**chosen, plugins=plugins))
        self._strategy = self._runtime.strategy
        self._weighted = WeightedSteps(self._strategy)
        self._callbacks: list[Any] = listed(callbacks)
        self._loggers: list[Logger] = listed(loggers)
        self._is_launched = False
        self._modules: WeakSet[nn.Module] = WeakSet()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what belongs to this process: one that's started with Fabric sets up modules of its own."""
        return {**vars(self), "_modules": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _modules=WeakSet())

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "run" in vars(cls):
            cls.run = launching(vars(cls)["run"])  # type: ignore[method-assign]  # adds the launch, keeps the signature

    # --- what it runs on ---

    @property
    def accelerator(self) -> Accelerator:
        """The kind of device."""
        return self._runtime.accelerator

    @property
    def strategy(self) -> Strategy:
        """The strategy."""
        return self._strategy

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return self._strategy.root_device

    @property
    def global_rank(self) -> int:
        """This process in the job."""
        return self._strategy.global_rank

    @property
    def local_rank(self) -> int:
        """This process on its machine."""
        return self._strategy.local_rank

    @property
    def node_rank(self) -> int:
        """This machine in the job."""
        return self._strategy.node_rank

    @property
    def world_size(self) -> int:
        """Processes of the job."""
        return self._strategy.world_size

    @property
    def is_global_zero(self) -> bool:
        """Whether this is rank 0 of the job."""
        return self._strategy.is_global_zero

    @property
    def loggers(self) -> list[Logger]:
        """Where `log` goes."""
        return self._loggers

    @property
    def logger(self) -> Logger:
        """The first logger; IndexError without one."""
        return self._loggers[0]

    # --- processes ---

    @property
    def is_launched(self) -> bool:
        """Whether this process is set up as one of the job."""
        return self._is_launched

    def launch(self, function: Callable[..., Any] = rest_of_script, *args: Any, **kwargs: Any) -> Any:
        """Start the job's processes and call ``function(fabric, *args, **kwargs)`` in each.

        Without a function, the rest of the script is what runs in each. Needed with several processes only, and
        refused when a command line has started them already (RuntimeError). Returns what rank 0's call returned.
        """
        if is_started_by_command_line():
            message = "A command line has started this script in all processes already; leave `launch` out."
            raise RuntimeError(message)
        check_launchable(function, self._strategy.launcher)
        return self._runtime.launch(self._call_in_process, function, *args, **kwargs)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Override this with your code: calling it launches first."""
        message = f"{type(self).__name__} has no `run`: override it, or call `launch` with a function."
        raise NotImplementedError(message)

    def _call_in_process(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._set_up_process()
        try:
            return function(self, *args, **kwargs)
        except BaseException as exception:
            failure = self._strategy.announce_failure(exception)
            if failure is exception:
                raise
            raise failure from None  # what this rank raised only follows from another's failure

    def _set_up_process(self) -> None:
        if not self._is_launched:
            set_up_process(self._runtime)
            self._is_launched = True

    def _require_process(self) -> None:
        """Get the only process of a job ready; one of several must have been launched."""
        is_several = self._strategy.supports(Capability.SEVERAL_PROCESSES) and not is_started_by_command_line()
        if is_several and not self._is_launched:
            message = f"{type(self._strategy).__name__} runs in several processes: call `fabric.launch()` first."
            raise RuntimeError(message)
        self._set_up_process()

    # --- set-up ---

    def setup(
        self,
        module: nn.Module,
        *optimizers: Optimizer,
        scheduler: Any = None,
        move_to_device: bool = True,
        _reapply_compile: bool = True,
    ) -> Any:
        """Place a module and the optimizers of its parameters; use what's returned from now on.

        Args:
            module: may be what `torch.compile` returned.
            optimizers: made with the module's parameters.
            scheduler: returned as it is, last.
            move_to_device: ``False`` leaves a plain module where it is.
            _reapply_compile: compile what the strategy makes of the module, rather than only the module within.
        """
        self._require_process()
        refuse_wrapped(module, *optimizers)
        wanted = {"move_to_device": move_to_device, "reapply_compile": _reapply_compile}
        wrapped, stepped = set_up_module(self._runtime, module, optimizers=optimizers, **wanted)
        self._modules.add(wrapped)
        introduce(wrapped.module, self, callbacks=self._callbacks)
        self.call("on_after_setup", fabric=self, module=wrapped)
        results = (wrapped, *self._proxies(stepped), *([] if scheduler is None else [scheduler]))
        return results if len(results) > 1 else wrapped

    def setup_module(
        self, module: nn.Module, move_to_device: bool = True, _reapply_compile: bool = True
    ) -> FabricModule:
        """Place a module whose optimizers are set up later or never."""
        return cast(FabricModule, self.setup(module, move_to_device=move_to_device, _reapply_compile=_reapply_compile))

    def setup_optimizers(self, *optimizers: Optimizer) -> Any:
        """Return one optimizer, or a tuple of several, made after `setup_module`, ready to be stepped."""
        self._require_process()
        refuse_wrapped(*optimizers)
        proxies = self._proxies(self._strategy.setup_optimizers(optimizers))
        return proxies[0] if len(proxies) == 1 else proxies

    def setup_dataloaders(
        self, *dataloaders: Any, use_distributed_sampler: bool = True, move_to_device: bool = True
    ) -> Any:
        """Let loaders share their samples out over the processes and move batches to the device.

        ``use_distributed_sampler=False`` leaves samplers as they are, ``move_to_device=False`` batches where they are.
        Returns one loader, or a list of several.
        """
        self._require_process()
        refuse_wrapped(*dataloaders)
        wanted = {"use_distributed_sampler": use_distributed_sampler, "move_to_device": move_to_device}
        ready = [set_up_loader(self._strategy, one, **wanted) for one in dataloaders]
        return ready[0] if len(ready) == 1 else ready

    # --- a step ---

    def backward(
        self,
        tensor: Tensor,
        *args: Any,
        model: FabricModule | None = None,
        weight: float | Tensor | None = None,
        **kwargs: Any,
    ) -> None:
        """Differentiate a loss, in place of ``tensor.backward(*args, **kwargs)``.

        With weights, the gradient that the next `clip_gradients` or ``optimizer.step()`` finds is that of the weighted
        mean of all losses since the last step, over all ranks: it doesn't depend on how a batch was cut. Each rank
        gives a weight to every loss of such a step.

        Args:
            tensor: the loss.
            args: as torch takes them, like ``kwargs``.
            model: which module the loss comes from, where a strategy's engine has several.
            weight: tokens or samples that the loss is the mean of.
            kwargs: as torch takes them.
        """
        self._strategy.backward(self._weighted.add(tensor, weight), Tensor.backward, *args, **kwargs)

    def no_backward_sync(self, module: nn.Module, enabled: bool = True) -> AbstractContextManager[None]:
        """Return a context in which `backward` leaves gradients unsynchronised: for all but the last micro-batch."""
        if not isinstance(unwrap_compiled(module)[0], FabricModule):
            message = "`module` isn't set up: give `no_backward_sync` what `fabric.setup` returned."
            raise TypeError(message)
        return self._strategy.no_backward_sync(unwrap_module(module), enabled=enabled)

    def clip_gradients(
        self,
        module: nn.Module,
        optimizer: Optimizer,
        clip_val: float | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        error_if_nonfinite: bool = True,
    ) -> Tensor | None:
        """Clip the gradients that an optimizer will use, by value or by their global norm.

        Exactly one of ``clip_val`` and ``max_norm`` is given (else ValueError). Returns the norm before clipping,
        ``None`` when clipping by value.
        """
        self._weighted.close()
        return clip_gradients_of(
            optimizer,
            self._runtime,
            clip_value=clip_val,
            max_norm=max_norm,
            norm_type=norm_type,
            error_if_nonfinite=error_if_nonfinite,
        )

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the precision's context for arithmetic outside of a set-up module."""
        return self._runtime.precision.forward_context()

    def to_device(self, obj: Any) -> Any:
        """Move a module (in place), or all tensors of nested data, to this process's device."""
        self._require_process()
        return obj.to(self.device) if isinstance(obj, nn.Module) else move_data_to_device(obj, self.device)

    @contextmanager
    def init_module(self, empty_init: bool | None = None) -> Iterator[None]:
        """Create modules where and in the format they will be needed; with ``empty_init`` without filling weights."""
        self._require_process()
        with self._strategy.init_context(empty_init=empty_init), self._runtime.precision.module_init_context():
            yield

    @contextmanager
    def init_tensor(self) -> Iterator[None]:
        """Create tensors on the device and in the format of the precision."""
        self._require_process()
        with self.device, self._runtime.precision.tensor_init_context():
            yield

    # --- the job ---

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print once per machine."""
        if self.local_rank == 0:
            print(*args, **kwargs)  # noqa: T201  # its purpose

    def barrier(self, name: str = "") -> None:
        """Wait until every process is here."""
        self._require_process()
        self._strategy.barrier(name)

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        """Return the object of rank ``src``."""
        self._require_process()
        return self._strategy.broadcast(obj, src)

    def all_gather(self, data: Any, group: Any = None, sync_grads: bool = False) -> Any:
        """Return every tensor and number in nested data from all ranks, ranks first; on one device, as tensors."""
        self._require_process()
        gather = self._strategy.all_gather
        return over_tensors(data, self.device, collective=gather, group=group, sync_grads=sync_grads)

    def all_reduce(self, data: Any, group: Any = None, reduce_op: str = "mean") -> Any:
        """Return every tensor and number in nested data reduced over all ranks: "mean", "sum", "min" or "max"."""
        self._require_process()
        return over_tensors(data, self.device, collective=self._strategy.reduce, group=group, op=reduce_op)

    def rank_zero_first(self, local: bool = False) -> AbstractContextManager[None]:
        """Let rank 0 (with ``local``: of each machine) run the block before the others do, for instance a download."""
        self._require_process()
        return first_alone(self._strategy, local=local)

    # --- checkpoints ---

    def save(self, path: str | PathLike[str], state: dict[str, Any], filter: Filter | None = None) -> None:
        """Save a dict of modules, optimizers, objects with a state dict, and values; on all ranks.

        Args:
            path: the file.
            state: may be nested.
            filter: for some keys a function ``(name, value) -> bool`` that says which entries to keep.
        """
        self._require_process()
        self._states.save(path, state, keep=filter)

    def load(
        self,
        path: str | PathLike[str],
        state: dict[str, Any] | None = None,
        strict: bool = True,
        *,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Load what `save` wrote into a state's objects, in place, and return what else is in the file; on all ranks.

        Args:
            path: the file.
            state: what to fill; ``None`` returns the file's whole content.
            strict: whether every key of the state must be in the file (else KeyError), and modules' keys must match.
            weights_only: ``False`` also unpickles arbitrary objects, which runs code: only for files you trust.
        """
        self._require_process()
        content = self._states.open(path, weights_only=weights_only, into=state)
        return content if state is None else self._states.fill(state, content, strict=strict)

    def load_raw(
        self, path: str | PathLike[str], obj: Any, strict: bool = True, *, weights_only: bool | None = None
    ) -> None:
        """Load a file that holds nothing but the state dict of one module or optimizer."""
        self._require_process()
        self._states.load(obj, self._states.open(path, weights_only=weights_only, into=obj), strict=strict)

    # --- callbacks and loggers ---

    def call(self, hook_name: str, *args: Any, **kwargs: Any) -> None:
        """Call the method of this name on every callback that has one, with the keyword arguments that it takes."""
        call_hook(self._callbacks, hook_name, *args, **kwargs)

    def log(self, name: str, value: Any, step: int | None = None) -> None:
        """Send one value to every logger; see `log_dict`."""
        self.log_dict({name: value}, step)

    def log_dict(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Send values to every logger."""
        numbers = plain_numbers(dict(metrics))
        for logger in self._loggers:
            logger.log_metrics(numbers, step)

    @staticmethod
    def seed_everything(seed: int | None = None, workers: bool | None = None, verbose: bool = True) -> int:
        """Seed every random number generator; see `lt_interfaces.rng.seed_everything`."""
        return seed_everything(seed, workers=workers is not False, verbose=verbose)

    # --- parts ---

    def _proxies(self, optimizers: Iterable[Optimizer]) -> tuple[Optimizer, ...]:
        wrap = partial(wrap_optimizer, callbacks=self._callbacks, before_step=self._weighted.close)
        return tuple(wrap(one, self._strategy) for one in optimizers)

    @property
    def _states(self) -> StateSaving:
        return StateSaving(self._runtime, self._modules)
