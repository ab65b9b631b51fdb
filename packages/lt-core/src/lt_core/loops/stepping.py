"""From a batch to new weights: the training step, its gradients, and the one place that takes an optimizer step."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from math import inf
from typing import Any, Final

from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor
from torch.optim import Optimizer

from lt_core.clipping import parameters_of
from lt_core.hook_plan import overrides, takes_argument
from lt_core.profiling import action_name, profiled
from lt_core.run.job import Job
from lt_core.run.optimization import Optimization
from lt_core.run.train_data import TrainData
from lt_interfaces.accumulation import AccumulationWindow
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.loss_weights import checked_weight
from lt_interfaces.progress import FitProgress
from lt_interfaces.rank_zero import WarningCache

_warned: Final = WarningCache()


class NothingToStep(Exception):
    """Leaves an optimizer step from within its closure: no micro-batch of the window gave a loss."""


class Stepping:
    """What `take_optimizer_step` works with; made once per fit."""

    def __init__(self, job: Job, optimization: Optimization, progress: FitProgress) -> None:
        self.strategy: Final = job.runtime.strategy
        self.optimization: Final = optimization
        self.progress: Final = progress
        self._hearers: Final = job.hooks.hearers
        self._clip: Final = _clipping(job)
        self._log_norm: Final = _norm_logging(job, optimization) if job.specs.logging.log_gradient_norm else None

    def before_step(self, optimizer: Optimizer) -> None:
        """Tell hooks that the gradients are final, then clip them."""
        for hear in self._hearers["on_before_optimizer_step"]:
            hear(optimizer)
        if self._clip is not None:
            self._clip(optimizer)
        if self._log_norm is not None:
            self._log_norm(optimizer)


def take_optimizer_step(stepping: Stepping, optimizer_idx: int, closure: Callable[[], Any], **kwargs: Any) -> Any:
    """Step one optimizer and count it; automatic and manual optimization meet here, and nowhere else is a step counted.

    One that was skipped, since gradients had overflowed, is counted as that.

    Args:
        stepping: the parts.
        optimizer_idx: which optimizer.
        closure: makes the gradients and returns the loss.
        kwargs: for the optimizer's own ``step``.
    """
    optimizer, strategy = stepping.optimization.optimizers[optimizer_idx], stepping.strategy
    result = strategy.optimizer_step(optimizer, closure, stepping.before_step, **kwargs)
    if strategy.step_was_skipped:
        stepping.progress.skipped_steps += 1
    else:
        stepping.progress.steps[optimizer_idx] += 1
    stepping.optimization.is_norm_known = False
    return result


class GradientClosure:
    """Makes the gradients of one micro-batch: forward, clearing of old gradients, backward.

    One object serves the whole fit, so that a step allocates nothing. Some optimizers call it several times per step.
    """

    def __init__(self, job: Job, optimization: Optimization, progress: FitProgress) -> None:
        module, strategy = job.module, job.runtime.strategy
        self.outputs: Any = None
        self.was_run = False
        self._module: Final = module
        self._optimization: Final = optimization
        self._hearers: Final = job.hooks.hearers
        self._recorder: Final = job.recorder
        self._run_step: Final = _step_in_context(job)
        self._num_args: Final = 2 if takes_argument(module.training_step, "batch_idx", 1) else 1
        self._backward: Final = strategy.backward
        self._own_backward: Final = module.backward if overrides(module, "backward") else None
        self._may_skip: Final = strategy.world_size == 1
        self._zero_grad: Final = _zero_grad(job, optimization, progress)
        self._args: tuple[Any, ...] = ()
        self._window: AccumulationWindow | None = None
        self._weight: float | None = None
        self._closes = False

    def begin(
        self, batch: Any, batch_idx: int, *, window: AccumulationWindow, closes: bool, weight: float | None
    ) -> None:
        """Take the micro-batch that the next call works on."""
        self._weight = weight
        self._args = (batch, batch_idx) if self._num_args == 2 else (batch,)
        self._window = window
        self._closes = closes
        self.outputs = None
        self.was_run = False

    def __call__(self) -> Tensor | None:
        """Make the gradients and return the loss; ``None`` when the training step gave none."""
        if self.was_run:
            self._begin_again()
        self.was_run = True
        window, recorder = self._window, self._recorder
        assert window is not None  # `begin` comes first
        window.begin(is_last=self._closes)
        outer, recorder.hook = recorder.hook, "training_step"
        try:
            self.outputs = outputs = self._run_step(*self._args)
            recorder.hook = outer
            loss = outputs if isinstance(outputs, Tensor) else loss_of(outputs)
            if loss is None:
                self._note_skipped()
            else:
                weight = self._weight if loss is outputs else _combined(self._weight, loss_weight_of(outputs))
                self._differentiate(loss, window, weight)
        finally:
            recorder.hook = outer
        if self._closes:
            if window.held == 0:
                raise NothingToStep
            window.close()
        return loss

    def _differentiate(self, loss: Tensor, window: AccumulationWindow, weight: float | Tensor | None) -> None:
        if not loss.requires_grad and self._own_backward is None:
            _refuse_loss_without_grad(self._module)
        hearers = self._hearers
        if window.held == 0:
            for hear in hearers["on_before_zero_grad"]:
                hear(self._optimization.optimizers[0])
            self._zero_grad()
        for hear in hearers["on_before_backward"]:
            hear(loss)
        self._recorder.hook = "backward"
        self._backward(window.add(loss, weight), self._own_backward or Tensor.backward)
        for hear in hearers["on_after_backward"]:
            hear()

    def _begin_again(self) -> None:
        """Begin the window again: the optimizer asks for gradients at other weights."""
        assert self._window is not None
        if self._window.held > 1:
            message = (
                "The optimizer evaluates its closure several times per step, which can't be combined with"
                " `accumulate_grad_batches` > 1: earlier micro-batches aren't there any more. Use 1."
            )
            raise MisconfigurationException(message)
        self._window = self._optimization.reopen_window()

    def _note_skipped(self) -> None:
        if not self._may_skip:
            message = (
                "`training_step` returned None, which skips the micro-batch; with several processes the others would"
                " wait for its gradients forever. Return a loss of zero that depends on the parameters instead."
            )
            raise RuntimeError(message)
        _warned.warn("`training_step` returned None: the micro-batch is skipped. If that's what you want, ignore this.")


class AutomaticStep:
    """Trains on batches under automatic optimization; called once per micro-batch."""

    def __init__(self, job: Job, stepping: Stepping, data: TrainData) -> None:
        self.stepped = False
        self._stepping: Final = stepping
        self._optimization: Final = stepping.optimization
        self._progress: Final = stepping.progress
        self._closure: Final = GradientClosure(job, stepping.optimization, stepping.progress)
        self._data: Final = data
        self._job: Final = job
        self._own_step: Final = job.module.optimizer_step if overrides(job.module, "optimizer_step") else None

    def __call__(self, batch: Any, batch_idx: int) -> Any:
        """Train on a micro-batch; on the last one of a window take the optimizer step."""
        optimization, closure = self._optimization, self._closure
        if optimization.window is None:
            left_in_epoch = 1 if optimization.accumulation == 1 else self._data.num_batches - batch_idx
            optimization.open_window(left_in_epoch)
        closes = optimization.left <= 1 or self._progress.is_last_batch
        steps_before = self._progress.steps[0]
        optimization.left -= 1
        weight = self._data.weight_of(batch_idx) if self._data.pads else None
        assert optimization.window is not None  # just opened
        closure.begin(batch, batch_idx, window=optimization.window, closes=closes, weight=weight)
        if not closes:
            self.stepped = False
            closure()
            return closure.outputs
        try:
            if self._own_step is None:
                take_optimizer_step(self._stepping, 0, closure)
            else:
                self._ask_module_to_step(batch_idx)
        except NothingToStep:
            pass  # every micro-batch was skipped by the training step
        self.stepped = self._progress.steps[0] > steps_before
        optimization.window = None
        return closure.outputs

    def _ask_module_to_step(self, batch_idx: int) -> None:
        """Let the module's own `optimizer_step` decide when and how."""
        recorder = self._job.recorder
        recorder.hook = "optimizer_step"
        try:
            proxy = self._optimization.proxies[0]
            self._job.module.optimizer_step(self._progress.epochs_completed, batch_idx, proxy, self._closure)
        finally:
            recorder.hook = None
        if not self._closure.was_run:
            message = (
                f"`{type(self._job.module).__name__}.optimizer_step` returned without running `optimizer_closure`, so"
                " the batch wasn't trained on. Call `optimizer.step(closure=optimizer_closure)`, or the closure alone."
            )
            raise MisconfigurationException(message)


class ManualStep:
    """Trains on batches under manual optimization: the module's training step does it all."""

    def __init__(self, job: Job) -> None:
        module = job.module
        self.stepped = True
        self._recorder: Final = job.recorder
        self._run_step: Final = _step_in_context(job)
        self._num_args: Final = 2 if takes_argument(module.training_step, "batch_idx", 1) else 1

    def __call__(self, batch: Any, batch_idx: int) -> Any:
        """Run the training step and return what it returned."""
        self._recorder.hook = "training_step"
        try:
            outputs = self._run_step(*(batch, batch_idx)[: self._num_args])
        finally:
            self._recorder.hook = None
        if isinstance(outputs, Mapping) and outputs.get("loss_weight") is not None:
            _warned.warn(
                "'loss_weight' has no effect in manual optimization, where the module differentiates by itself: weigh"
                " the losses before `manual_backward`."
            )
        elif outputs is not None and not isinstance(outputs, Tensor | Mapping):
            message = (
                "In manual optimization `training_step` must return a tensor, a dict or None, but got"
                f" {type(outputs).__name__}."
            )
            raise MisconfigurationException(message)
        return outputs


def differentiate(job: Job, loss: Tensor, *args: Any, **kwargs: Any) -> None:
    """Compute gradients in manual optimization, through precision, strategy and hooks."""
    hooks, recorder, outer = job.hooks, job.recorder, job.recorder.hook
    hooks.notify("on_before_backward", loss)
    recorder.hook = "backward"
    try:
        job.runtime.strategy.backward(loss, job.module.backward, *args, **kwargs)
    finally:
        recorder.hook = outer
    hooks.notify("on_after_backward")


def loss_of(outputs: Any) -> Tensor | None:
    """Return the loss within what a training step returned.

    Raises:
        MisconfigurationException: for anything but a tensor, a dict with a tensor under ``"loss"``, or None.
    """
    if outputs is None or isinstance(outputs, Tensor):
        return outputs
    accepted = "a tensor (the loss), a dict with the loss under 'loss', or None to skip the batch"
    if not isinstance(outputs, Mapping):
        message = f"`training_step` must return {accepted}, but got {type(outputs).__name__}."
        raise MisconfigurationException(message)
    loss = outputs.get("loss")
    if not isinstance(loss, Tensor):
        found = f"a dict with the keys {sorted(map(str, outputs))}" if "loss" not in outputs else f"'loss': {loss!r}"
        message = f"`training_step` must return {accepted}, but got {found}."
        raise MisconfigurationException(message)
    return loss


def loss_weight_of(outputs: Mapping[str, Any]) -> float | Tensor | None:
    """Return what the loss counts for within its window and over ranks: tokens or samples that it's the mean of.

    Tensors stay on their device and aren't looked into.

    Raises:
        MisconfigurationException: for anything but a number >= 0, or a tensor with one element, under "loss_weight".
    """
    weight = outputs.get("loss_weight")
    return None if weight is None else checked_weight(weight, "`training_step` returned a 'loss_weight' that")


def detached_outputs(outputs: Any) -> Any:
    """Return what ``on_train_batch_end`` gets: a dict with the user's own, unscaled loss, without graph."""
    if isinstance(outputs, Tensor):
        return {"loss": outputs.detach()}
    if outputs is None:
        return {"loss": None}
    return {key: apply_to_collection(value, Tensor, Tensor.detach) for key, value in outputs.items()}


def _combined(of_batch: float | None, of_loss: float | Tensor | None) -> float | Tensor | None:
    """Return the weight of a micro-batch, of those that the data and the training step give it."""
    if of_batch is None or of_loss is None:
        return of_batch if of_loss is None else of_loss
    return of_batch * of_loss


def _step_in_context(job: Job) -> Callable[..., Any]:
    """Return the module's training step as strategy and precision run it; full precision adds nothing to it."""
    bound = job.runtime.strategy.bind_step(job.module, "training_step")
    step = profiled(job.profiler, action_name("LightningModule", job.module, "training_step"), bound)
    context = job.runtime.precision.forward_context
    if isinstance(context(), nullcontext):
        return step

    def step_in_context(*args: Any) -> Any:
        with context():
            return step(*args)

    return step_in_context


def _refuse_loss_without_grad(module: Any) -> None:
    message = (
        f"The loss that `{type(module).__name__}.training_step` returned doesn't depend on any parameter that requires"
        " grad. Was it computed under `torch.no_grad()`, detached, or is everything frozen?"
    )
    raise RuntimeError(message)


def _zero_grad(job: Job, optimization: Optimization, progress: FitProgress) -> Callable[[], None]:
    """Return the function that clears gradients; `optimizer_zero_grad` is asked only where the module has its own."""
    module, recorder = job.module, job.recorder
    if not overrides(module, "optimizer_zero_grad"):
        optimizer = optimization.optimizers[0]
        is_torchs = type(optimizer).zero_grad is Optimizer.zero_grad and "zero_grad" not in vars(optimizer)
        return partial(_drop_gradients, optimizer) if is_torchs else optimizer.zero_grad

    def zero_grad() -> None:
        outer, recorder.hook = recorder.hook, "optimizer_zero_grad"
        module.optimizer_zero_grad(progress.epochs_completed, progress.batches_in_epoch, optimization.optimizers[0])
        recorder.hook = outer

    return zero_grad


def _drop_gradients(optimizer: Optimizer) -> None:
    """Do what torch's ``zero_grad`` does, without the profiler's span around it, which costs more than the work."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def _clipping(job: Job) -> Callable[[Optimizer], None] | None:
    """Return the function that clips before a step, ``None`` when nothing does.

    In manual optimization the module clips by itself, with ``self.clip_gradients``.
    """
    module, spec, recorder = job.module, job.specs.optimization, job.recorder
    asked = spec.gradient_clip_val is not None
    own = overrides(module, "configure_gradient_clipping") or overrides(module, "clip_gradients")
    if not module.automatic_optimization or not (asked or own):
        return None

    def clip(optimizer: Optimizer) -> None:
        recorder.hook = "configure_gradient_clipping"
        try:
            module.configure_gradient_clipping(optimizer, spec.gradient_clip_val, spec.gradient_clip_algorithm)
        finally:
            recorder.hook = None

    return clip


def _norm_logging(job: Job, optimization: Optimization) -> Callable[[Optimizer], None]:
    """Return the function that logs the norm of an optimizer's gradients before clipping; it measures where needed."""
    module, strategy, recorder = job.module, job.runtime.strategy, job.recorder

    def log_norm(optimizer: Optimizer) -> None:
        if not optimization.is_norm_known:
            optimization.note_norm(strategy.clip_gradients(parameters_of(optimizer), max_norm=inf))
        several = len(optimization.optimizers) > 1
        name = f"grad_norm/{optimization.optimizers.index(optimizer)}" if several else "grad_norm"
        outer, recorder.hook = recorder.hook, "on_before_optimizer_step"
        try:
            module.log(name, optimization.gradient_norm, on_step=True, on_epoch=False, batch_size=1)
        finally:
            recorder.hook = outer

    return log_norm
