"""Modules wrapped into torch's DistributedDataParallel, and their steps run through it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch._C._distributed_c10d import GradBucket
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from lt_interfaces.redirection import StepRedirection
from lt_interfaces.spelling import did_you_mean
from lt_strategies.failure.collective_log import COLLECTIVES

_OURS: Final = ("module", "device_ids", "output_device", "process_group", "device_mesh")
_UNFINISHED: Final = "Expected to have finished reduction"
_WAY_OUT: Final = (
    "Parameters that take no part in the loss of every step need `strategy='ddp_find_unused_parameters_true'`, or"
    " `requires_grad=False` where they are never trained."
)


@dataclass(frozen=True)
class CommHook:
    """How gradients travel: torch's communication hook, its state, and what's wrapped around it."""

    hook: Callable[..., Any]
    state: Any = None
    wrapper: Callable[..., Any] | None = None

    def register(self, wrapped: DistributedDataParallel) -> None:
        """Let the wrapped module's gradients travel so."""
        hook = self.hook if self.wrapper is None else self.wrapper(self.hook)
        wrapped.register_comm_hook(self.state, hook)


class Wrapping:
    """Wraps modules for training and finds the wrapper of a module again.

    Args:
        arguments: for `DistributedDataParallel`.
        comm_hook: how gradients travel; ``None``: averaged as they are.

    Raises:
        TypeError: for an argument that `DistributedDataParallel` doesn't take.
    """

    def __init__(self, arguments: Mapping[str, Any], comm_hook: CommHook | None) -> None:
        _check_arguments(arguments)
        self._arguments: Final = dict(arguments)
        self._comm_hook: Final = comm_hook
        self._wrappers: Final[list[DistributedDataParallel]] = []
        self.manual: Final[dict[DistributedDataParallel, ManualWrapper]] = {}
        """The wrapped modules whose training step differentiates by itself."""

    def clear(self) -> None:
        """Forget all modules."""
        self._wrappers.clear()
        self.manual.clear()

    def wrap(self, module: nn.Module, device: torch.device, *, num_optimizers: int) -> DistributedDataParallel:
        """Return the module wrapped."""
        is_manual = not getattr(module, "automatic_optimization", True)
        arguments = self._arguments
        if is_manual and num_optimizers > 1:
            # Each backward reaches the parameters of one optimizer alone.
            arguments = {"find_unused_parameters": True, **arguments}
        ids = [device.index] if device.index is not None else None
        wrapped = DistributedDataParallel(module, device_ids=ids, **arguments)
        comm_hook = self._comm_hook or (CommHook(_noted_average) if COLLECTIVES.is_on else None)
        if comm_hook is not None:
            comm_hook.register(wrapped)
        self._wrappers.append(wrapped)
        if is_manual:
            self.manual[wrapped] = ManualWrapper(wrapped)
        return wrapped

    def wrapper_of(self, module: nn.Module) -> DistributedDataParallel | None:
        """Return the wrapper of a module, the module itself if it's one, ``None`` where none was made."""
        found = (wrapped for wrapped in self._wrappers if module is wrapped or module is wrapped.module)
        return next(found, None)

    def wrappers(self) -> Iterator[DistributedDataParallel]:
        """Return all wrapped modules."""
        return iter(self._wrappers)

    def bind_step(self, module: nn.Module, name: str) -> Callable[..., Any]:
        """Return what runs a step: a training step through the wrapper, any other one directly.

        Evaluation needs nothing of the wrapper, whose forward is a collective where the module has buffers; ranks may
        evaluate different numbers of batches.
        """
        wrapped = self.wrapper_of(module)
        original = module if wrapped is None else wrapped.module
        if wrapped is None or name in ("validation_step", "test_step", "predict_step"):
            step: Callable[..., Any] = getattr(original, name)
            return step
        redirected = StepRedirection(wrapped, original, name=name, explain=_explain_unfinished)
        manual = self.manual.get(wrapped)
        return redirected if manual is None else manual.bind(redirected)

    def prepare_backward(self, loss: Tensor) -> None:
        """Let a module whose training step differentiates by itself average the gradients of this backward."""
        for manual in self.manual.values():
            # A loss of another module would leave this one's gradients half averaged.
            if manual.is_stepping or len(self._wrappers) == 1:
                manual.prepare_backward(loss)

    @contextmanager
    def unsynchronised(self, wrapped: DistributedDataParallel) -> Iterator[None]:
        """Let backward leave the gradients of a wrapped module unsynchronised."""
        manual = self.manual.get(wrapped)
        if manual is not None:
            manual.synchronises = False
        try:
            with wrapped.no_sync():
                yield
        finally:
            if manual is not None:
                manual.synchronises = True


class ManualWrapper:
    """A wrapped module whose training step calls backward by itself, as often as it likes.

    Args:
        wrapped: the module.
    """

    def __init__(self, wrapped: DistributedDataParallel) -> None:
        self.is_stepping = False
        """Whether its training step is running."""
        self.synchronises = True
        """Whether backward averages gradients over ranks."""
        self._wrapped: Final = wrapped

    def bind(self, redirected: Callable[..., Any]) -> Callable[..., Any]:
        """Return the training step; the wrapper expects no backward after it, as that happens within."""

        def step(*args: Any, **kwargs: Any) -> Any:
            self.is_stepping = True
            self._wrapped.require_backward_grad_sync = False
            try:
                return redirected(*args, **kwargs)
            finally:
                self.is_stepping = False
                self._wrapped.require_backward_grad_sync = True  # for a plain forward, whose backward follows it

        return step

    def prepare_backward(self, loss: Tensor) -> None:
        """Let the coming backward average gradients, if it shall."""
        wrapped = self._wrapped
        if not self.synchronises:
            wrapped.require_forward_param_sync = False
            return
        wrapped.require_forward_param_sync = True  # buffers are sent again with the next forward
        wrapped.reducer.prepare_for_backward([loss] if wrapped.find_unused_parameters else [])


def plain_module(module: nn.Module) -> nn.Module:
    """Return the user's own module."""
    if isinstance(module, DistributedDataParallel):
        inner: nn.Module = module.module
        return inner
    return module


def _noted_average(state: Any, bucket: GradBucket) -> torch.futures.Future[Tensor]:
    """Average a bucket of gradients as torch does by itself, and remember it for the report of a failure."""
    gradients = bucket.buffer()
    average = allreduce_hook(None, bucket)  # type: ignore[arg-type]  # None stands for the default group
    # behind the `all_reduce` within, which comes back at once
    end = COLLECTIVES.begin("DDP's average of gradients", f"({gradients.numel()},) {gradients.dtype}")
    average.add_done_callback(lambda _: end())
    return average


def _explain_unfinished(error: RuntimeError) -> None:
    """Say what to do about parameters without gradients."""
    if _UNFINISHED in str(error):
        error.add_note(_WAY_OUT)


def _check_arguments(arguments: Mapping[str, Any]) -> None:
    parameters = signature(DistributedDataParallel.__init__).parameters.values()
    known = [one.name for one in parameters if one.kind is not Parameter.VAR_KEYWORD and one.name != "self"]
    accepted = sorted(set(known) - set(_OURS))
    for name in arguments:
        if name not in accepted:
            message = (
                f"`DDPStrategy` doesn't take `{name}`.{did_you_mean(name, accepted)} Beside its own arguments it takes "
                f"those of torch's DistributedDataParallel: {', '.join(accepted)}."
            )
            raise TypeError(message)
