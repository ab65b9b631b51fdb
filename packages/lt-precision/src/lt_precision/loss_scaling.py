"""Scaled losses: gradients too small for 16 bits are made with a larger loss, and steps that overflowed are skipped."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from inspect import Parameter, signature
from typing import Any, Final, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.amp import GradScaler
from torch.optim import LBFGS, Optimizer

from lt_interfaces.errors import MisconfigurationException


class LossScaling:
    """Torch's ``GradScaler`` as a precision needs it: every optimizer's gradients are unscaled and judged once.

    All gradients of one round, which the same calls of `backward` made, are divided by the same scale: it changes only
    in `settle`. In torch's recipe (https://docs.pytorch.org/docs/stable/notes/amp_examples.html) that's a call of
    ``update`` at the end of the iteration.

    Args:
        scaler: holds the scale, and the rule by which it changes.
    """

    def __init__(self, scaler: GradScaler) -> None:
        self.scaler: Final = scaler
        self.step_was_skipped = False
        self.num_backward = 0
        self._verdicts: dict[Optimizer, _Verdict] = {}
        # The scaler knows by their ids what it judged since its last update, so they're kept as long.
        self._judged: list[_Gradients] = []

    def backward(self, loss: Tensor, run_backward: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        """Run backward from the scaled loss; with it a new round begins for optimizers that have stepped."""
        self.settle()
        self._verdicts = {
            optimizer: verdict
            for optimizer, verdict in self._verdicts.items()
            if not verdict.was_used and _has_gradients(optimizer)
        }
        untouched = [(optimizer, _fingerprint(optimizer)) for optimizer in self._verdicts]
        self.num_backward += 1
        run_backward(self.scaler.scale(loss), *args, **kwargs)
        for optimizer, before in untouched:
            if _fingerprint(optimizer) != before:
                self._refuse_mixture(optimizer)

    def unscale(self, optimizer: Optimizer) -> bool:
        """Divide an optimizer's gradients by the scale, once, and say whether all of them are finite, on all ranks."""
        if optimizer not in self._verdicts:
            self._verdicts[optimizer] = _Verdict(is_finite=self._judge(optimizer))
        return self._verdicts[optimizer].is_finite

    def step(self, optimizer: Optimizer, before_step: Callable[[Optimizer], None], **kwargs: Any) -> Any:
        """Prepare and update, unless gradients overflowed: then only prepare. Return what the optimizer returned."""
        try:
            is_finite = self.unscale(optimizer)
            before_step(optimizer)
            result = optimizer.step(**kwargs) if is_finite else None
        except BaseException:
            self._drop_round()
            raise
        self._verdicts[optimizer].was_used = True
        self.step_was_skipped = not is_finite
        return result

    def settle(self) -> None:
        """End the round: the scale grows or shrinks by what was found in it."""
        if self._judged:
            self.scaler.update()
            self._judged.clear()

    def begin_anew(self) -> None:
        """Forget gradients of an earlier run."""
        self.settle()
        self._verdicts.clear()

    def state_dict(self) -> dict[str, Any]:
        """Return the scaler's state."""
        self.settle()
        return self.scaler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self.begin_anew()
        self.scaler.load_state_dict(dict(state))

    def _judge(self, optimizer: Optimizer) -> bool:
        groups = _gradients_by_layout(optimizer)
        if not groups or not self.scaler.is_enabled():
            return True
        if self.num_backward == 0:
            _refuse_unscaled_gradients(optimizer)
        # Each must be unscaled, also after one that isn't finite.
        verdicts = [self._judge_group(group) for group in groups]
        is_finite = all(verdicts)
        if len(groups) == 1 or not dist.is_initialized():
            return is_finite
        return self._agree(is_finite=is_finite, device=groups[0].device)

    def _judge_group(self, group: "_Gradients") -> bool:
        """Unscale gradients of one layout; torch agrees over ranks where they're sharded."""
        self._judged.append(group)
        in_place_of_optimizer = cast(Optimizer, group)
        self.scaler.unscale_(in_place_of_optimizer)
        self.scaler.step(in_place_of_optimizer)
        return group.was_stepped

    def _agree(self, *, is_finite: bool, device: torch.device) -> bool:
        """Say whether gradients are finite on all ranks; the scaler learns of those that aren't."""
        overflows = torch.tensor(float(not is_finite), device=device)
        dist.all_reduce(overflows, dist.ReduceOp.MAX)
        overflows_anywhere = bool(overflows)
        if overflows_anywhere and is_finite:
            planted = torch.zeros((), device=device)
            planted.grad = torch.full((), torch.inf, device=device)
            self._judge_group(_Gradients([planted]))
        return not overflows_anywhere

    def _drop_round(self) -> None:
        """Leave nothing half done after a step that raised: it counts as never begun."""
        self._verdicts.clear()
        if self._judged:
            self.scaler.update(self.scaler.get_scale())
            self._judged.clear()

    def _refuse_mixture(self, optimizer: Optimizer) -> None:
        self._drop_round()
        message = (
            f"The gradients of {type(optimizer).__name__} were unscaled, as clipping does, and then `backward` added to"
            " them before the step, so they're scaled and unscaled ones mixed. Clip after the last `backward`; and"
            " when a step is left out, call `zero_grad()`, with `set_to_none=True`, which is the default."
        )
        raise RuntimeError(message)


def refuse_reevaluation(optimizer: Optimizer) -> None:
    """Refuse an optimizer that needs its closure: gradients that it makes again within a step can't be unscaled.

    Raises:
        MisconfigurationException: naming it and the way out.

    >>> refuse_reevaluation(torch.optim.SGD([torch.zeros(1)]))
    >>> refuse_reevaluation(LBFGS([torch.zeros(1)]))
    Traceback (most recent call last):
    lt_interfaces.errors.MisconfigurationException: `precision='16-mixed'` doesn't work with LBFGS, ...
    """
    if _needs_closure(type(optimizer)):  # type: ignore[arg-type]  # a class is hashable
        message = (
            f"`precision='16-mixed'` doesn't work with {type(optimizer).__name__}, which evaluates its closure within a"
            " step: those gradients can't be unscaled. Use `precision='bf16-mixed'` or '32-true', or another optimizer."
        )
        raise MisconfigurationException(message)


@cache
def _needs_closure(kind: type[Optimizer]) -> bool:
    closure = signature(kind.step).parameters.get("closure")
    return issubclass(kind, LBFGS) or (closure is not None and closure.default is Parameter.empty)


@dataclass
class _Verdict:
    """What was found when an optimizer's gradients were unscaled, and whether a step has used it."""

    is_finite: bool
    was_used: bool = False


class _Gradients:
    """Some parameters in the form of an optimizer, which the scaler takes them for.

    The scaler's ``step`` calls ours if it found nothing infinite: that's how it tells, also of fused optimizers, which
    skip a step by themselves. Parameters of one layout only: torch can't unscale sharded ones together with others.
    """

    def __init__(self, parameters: list[Tensor]) -> None:
        self.param_groups = [{"params": parameters}]
        self.device = parameters[0].device
        self.was_stepped = False

    def step(self) -> None:
        """Note that gradients were finite."""
        self.was_stepped = True


def _gradients_by_layout(optimizer: Optimizer) -> list[_Gradients]:
    """Return the parameters with gradients, those on one device mesh together, and those on none."""
    by_mesh: dict[Any, list[Tensor]] = {}
    for parameter in _with_gradients(optimizer):
        assert parameter.grad is not None
        if parameter.grad.dtype is torch.float16:
            _refuse_float16(optimizer)
        by_mesh.setdefault(getattr(parameter.grad, "device_mesh", None), []).append(parameter)
    return [_Gradients(parameters) for parameters in by_mesh.values()]


def _with_gradients(optimizer: Optimizer) -> Iterable[Tensor]:
    return (
        parameter for group in optimizer.param_groups for parameter in group["params"] if parameter.grad is not None
    )


def _has_gradients(optimizer: Optimizer) -> bool:
    return any(True for _ in _with_gradients(optimizer))


def _fingerprint(optimizer: Optimizer) -> list[tuple[int, int]]:
    """Return what changes when something is added to a gradient."""
    return [(id(parameter.grad), cast(Tensor, parameter.grad)._version) for parameter in _with_gradients(optimizer)]


def _refuse_unscaled_gradients(optimizer: Optimizer) -> None:
    message = (
        f"{type(optimizer).__name__} has gradients that weren't made from a scaled loss, as `precision='16-mixed'`"
        " needs. Call `self.manual_backward(loss)` or `fabric.backward(loss)` in place of `loss.backward()`."
    )
    raise RuntimeError(message)


def _refuse_float16(optimizer: Optimizer) -> None:
    message = (
        f"`precision='16-mixed'` keeps weights in 32 bits, but {type(optimizer).__name__} has some in float16, whose"
        " gradients can't be unscaled. Leave the module in float32, or use `precision='16-true'`."
    )
    raise MisconfigurationException(message)
