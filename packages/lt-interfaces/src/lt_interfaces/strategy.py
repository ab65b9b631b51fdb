"""The contract of a strategy: how a module is laid out over devices and processes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from lightning_utilities.core.enums import StrEnum
from torch import Tensor, nn
from torch.optim import Optimizer

from lt_interfaces.accelerator import Accelerator
from lt_interfaces.accumulation import AccumulationWindow
from lt_interfaces.checkpoint_io import Placement
from lt_interfaces.environment import ClusterEnvironment
from lt_interfaces.flag_exchange import FlagExchange
from lt_interfaces.launcher import Launcher
from lt_interfaces.precision import Precision


class Capability(StrEnum):
    """What a strategy may or may not be able to do; asked through `Strategy.supports` before launching."""

    SEVERAL_OPTIMIZERS = "several optimizers"
    MANUAL_OPTIMIZATION = "manual optimization"
    COMPILED_MODULE = "a compiled module"
    INFERENCE_MODE = "inference mode"
    CLIP_BY_VALUE = "clipping by value"
    CHANGING_ACCUMULATION = "changing the accumulation during a run"
    SEVERAL_PROCESSES = "several processes"
    SAVING_IN_WINDOW = "saving within an accumulation window"
    SYNC_BATCHNORM = "batch norm over all ranks"
    UNEVEN_EVALUATION = "evaluating another number of batches on each rank"
    WEIGHTED_LOSSES = "losses that count by what their mean was taken over"
    TRIAL_RUN = "optimizer steps that are taken back"


@dataclass(frozen=True)
class Assembly:
    """The parts that a strategy works with, resolved before launching."""

    accelerator: Accelerator
    devices: Sequence[torch.device]
    num_nodes: int
    environment: ClusterEnvironment
    precision: Precision
    sync_batchnorm: bool = False
    """Whether batch norm layers of trained modules shall see the batches of all ranks."""


class Strategy(ABC):
    """How a module is laid out over devices and processes, and how these work together.

    One contract serves the Trainer and Fabric. Found by name in the entry-point group ``lt.strategies``; an instance
    is always accepted. Life: `connect` (main process, before launching) -> `launcher` -> in every process
    `setup_environment` -> `setup` -> steps -> `teardown`. Properties are valid from `connect` on; collectives
    (`reduce`, `all_gather`, `broadcast`, `barrier`, and state methods of sharded strategies) must be called on every
    rank in the same order.
    """

    # --- before launching ---

    @abstractmethod
    def connect(self, assembly: Assembly) -> None:
        """Take the parts of this run. Called again for each run of a Trainer; keeps nothing of an earlier one."""

    @abstractmethod
    def supports(self, part: Precision | Accelerator | Capability) -> bool:
        """Say whether it works with this part or can do this; what isn't supported is refused before launching."""

    @property
    @abstractmethod
    def launcher(self) -> Launcher | None:
        """What starts the job's processes; ``None`` when the current process is the only one or others start them."""

    @property
    @abstractmethod
    def default_checkpoint_io(self) -> str:
        """Name (entry-point group ``lt.checkpoint_ios``) of the checkpoint IO used when the user gives none."""

    # --- who am I ---

    @property
    @abstractmethod
    def root_device(self) -> torch.device:
        """The device of this process."""

    @property
    @abstractmethod
    def global_rank(self) -> int:
        """Rank of this process in the job, from 0."""

    @property
    @abstractmethod
    def local_rank(self) -> int:
        """Rank of this process on its node, from 0."""

    @property
    @abstractmethod
    def node_rank(self) -> int:
        """Rank of this node, from 0."""

    @property
    @abstractmethod
    def world_size(self) -> int:
        """Number of processes in the job."""

    @property
    @abstractmethod
    def is_global_zero(self) -> bool:
        """Whether this process has global rank 0."""

    @property
    @abstractmethod
    def distributed_sampler_kwargs(self) -> Mapping[str, int] | None:
        """``num_replicas`` and ``rank`` for samplers; ``None`` when every process sees all the data."""

    @property
    def sample_group(self) -> Any:
        """The process group of ranks that have all samples between them, each one once; ``None``: all ranks.

        Ranks that compute layers together have the same samples, so what's summed over all of them counts copies.
        Metric objects, which synchronise by themselves, do it over this group. Asked in every process after `setup`,
        where there are fewer shares of samples than ranks, but more than one.
        """
        return None

    # --- set-up, in every process ---

    @abstractmethod
    def setup_environment(self) -> None:
        """Prepare the device and join the process group; called first in every process."""

    @abstractmethod
    def init_context(self, *, empty_init: bool | None = None) -> AbstractContextManager[Any]:
        """Return the context in which a module is created: on its device or, for sharded strategies, on meta.

        Args:
            empty_init: leave weights uninitialised because a checkpoint will fill them; ``None``: as fits.
        """

    @abstractmethod
    def setup(
        self,
        module: nn.Module,
        make_optimizers: Callable[[], Sequence[Optimizer]] | None,
        *,
        move_to_device: bool = True,
    ) -> tuple[nn.Module, list[Optimizer]]:
        """Place and wrap the module, then make its optimizers.

        Args:
            module: already converted by the precision.
            make_optimizers: called after the module stands where it will be trained; ``None`` when nothing is
                trained (evaluation).
            move_to_device: ``False`` leaves a plain module where it is.

        Returns:
            The wrapped module (may be the same object) and the optimizers to step.
        """

    @abstractmethod
    def setup_optimizers(self, optimizers: Sequence[Optimizer]) -> list[Optimizer]:
        """Take optimizers made by the user beside an already set-up module (Fabric)."""

    @abstractmethod
    def setup_dataloader(self, loader: Any) -> Any:
        """Wrap a loader where the device needs it; called once per loader, after sampler injection."""

    # --- a step ---

    @abstractmethod
    def bind_step(self, module: nn.Module, name: str) -> Callable[..., Any]:
        """Return the callable that runs the method ``name`` of the original module through the wrapped module.

        Called once per stage, after `setup`, so that a step itself costs no look-up. Strategies that don't wrap
        return the bound method.
        """

    @abstractmethod
    def open_window(self, length: int) -> AccumulationWindow:
        """Open the accumulation window of the next optimizer step.

        Args:
            length: the number of micro-batches planned; it may end earlier. The object may be the one of the last
                window, emptied.
        """

    @abstractmethod
    def no_backward_sync(self, module: nn.Module, *, enabled: bool = True) -> AbstractContextManager[None]:
        """Return a context in which backward doesn't synchronise gradients over ranks (for one's own loop)."""

    @abstractmethod
    def backward(self, loss: Tensor, run_backward: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        """Differentiate: ``run_backward(loss, *args, **kwargs)`` with the precision's scaling, or the engine's own."""

    @abstractmethod
    def optimizer_step(
        self,
        optimizer: Optimizer,
        closure: Callable[[], Any],
        before_step: Callable[[Optimizer], None],
        **kwargs: Any,
    ) -> Any:
        """Take one optimizer step as `Precision.optimizer_step` says, or the engine's own with the same promises."""

    @property
    def step_was_skipped(self) -> bool:
        """Whether the last `optimizer_step` left the weights as they were, since gradients weren't finite.

        Only a precision or an engine that scales losses does so; all ranks agree on it.
        """
        return False

    @abstractmethod
    def clip_gradients(
        self,
        parameters: Iterable[Tensor],
        *,
        max_norm: float | None = None,
        clip_value: float | None = None,
        norm_type: float = 2.0,
        error_if_nonfinite: bool = False,
    ) -> Tensor | None:
        """Clip gradients in place, by global norm or by value (exactly one is given).

        An infinite ``max_norm`` clips nothing: the norm is measured alone.

        Returns:
            The global norm before clipping as a tensor of shape ``()`` on the root device, without a host sync;
            ``None`` when clipping by value.
        """

    # --- collectives ---

    @abstractmethod
    def reduce(self, tensor: Tensor, *, op: str = "mean", group: Any = None) -> Tensor:
        """Return the tensor reduced over all ranks; ``op`` is "mean", "sum", "min" or "max"."""

    @abstractmethod
    def all_gather(self, tensor: Tensor, *, group: Any = None, sync_grads: bool = False) -> Tensor:
        """Return the tensors of all ranks with a leading dimension of size ``world_size``.

        On one device the tensor itself is returned, as Lightning does.
        """

    @abstractmethod
    def broadcast(self, obj: Any, src: int = 0) -> Any:
        """Return the (picklable) object of rank ``src`` on every rank."""

    @abstractmethod
    def barrier(self, name: str = "", *, patient: bool = False) -> None:
        """Wait until every rank is here.

        Args:
            name: shown where ranks got stuck.
            patient: wait as long as it takes, e.g. while one rank downloads data; else the job's timeout holds.
        """

    @abstractmethod
    def open_flag_exchange(self, every: int | None = None) -> FlagExchange | None:
        """Return what ranks tell each other of rare events with, such as stop requests; ``None`` in one process.

        Called on every rank.

        Args:
            every: at how many calls one exchange is made; ``None``: as the user told the strategy.
        """

    # --- state, in a form that any other strategy loads, on any world size ---

    @property
    def restores_after_setup(self) -> bool:
        """Whether weights are loaded into a module that `setup` has placed; else before, ahead of its optimizers.

        So it is where no process could hold the whole module.
        """
        return False

    def placement(self, target: nn.Module | Optimizer) -> Placement | None:
        """Return where the tensors of a checkpoint's state are to be read into, so that each rank reads only its part.

        By default ``None``: they're read whole. Places are those within the state of the module or optimizer.

        Args:
            target: a module that `setup` has placed, or an optimizer of its.
        """
        return None

    @abstractmethod
    def module_state(self, module: nn.Module) -> dict[str, Any]:
        """Return the state dict of the original module; collective for sharded strategies."""

    @abstractmethod
    def load_module_state(self, module: nn.Module, state: Mapping[str, Any], *, strict: bool = True) -> Any:
        """Load what `module_state` returned here or under another strategy; returns torch's incompatible keys."""

    @abstractmethod
    def optimizer_state(self, module: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
        """Return the optimizer's complete state as torch's ``state_dict`` does; collective for sharded strategies.

        Parameters go by number, in the order of the param groups, as checkpoint files hold them.
        """

    @abstractmethod
    def load_optimizer_state(self, module: nn.Module, optimizer: Optimizer, state: Mapping[str, Any]) -> None:
        """Load what `optimizer_state` returned here or under another strategy.

        Parameters may go by number or by full name (`lt_interfaces.portable_state`).
        """

    # --- the end ---

    @abstractmethod
    def announce_failure(self, failure: BaseException, *, step: int | None = None) -> BaseException:
        """Tell the other ranks that this one failed, so that all end; called before anything else is done about it.

        Not collective, and it doesn't wait for anybody. The job remembers its first failure alone; no collective works
        after it.

        Args:
            failure: what was raised.
            step: optimizer steps taken by then, if that's known.

        Returns:
            What this rank raises: the failure itself or, where another rank failed before and this failure only
            follows from that, an exception that tells of the first one.
        """

    @abstractmethod
    def teardown(self) -> None:
        """Leave the process group, free device memory, move the module back to the CPU; in every process."""
