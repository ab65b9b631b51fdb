"""A module whose stages lie on one rank after the other, run by torch's schedules as if it were one module."""

from collections.abc import Sequence
from typing import Any, Final, Literal, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe

Schedule = Literal["1f1b", "gpipe"]
_MOST_SHAPES: Final = 8
"""Of how many shapes of batches buffers are kept."""
SCHEDULES: Final = {"1f1b": Schedule1F1B, "gpipe": ScheduleGPipe}


class Pipelined(Protocol):
    """What a module has so that it can be trained as a pipeline; steps call it with inputs and targets for the loss.

    Example::

        class Chain(nn.Module):
            def pipeline_stages(self, num_stages: int) -> list[nn.Module]:
                size = ceil(len(self.layers) / num_stages)
                return [nn.Sequential(*self.layers[start : start + size]) for start in range(0, len(self.layers), size)]

            def pipeline_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
                return mse_loss(outputs, targets)

            def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
                return self.pipeline_loss(self.layers(inputs), targets)
    """

    def pipeline_stages(self, num_stages: int) -> Sequence[nn.Module]:
        """Return so many modules, each called with what the one before returns, that have all parameters.

        Called on every rank; modules may be made for it of the module's own ones.
        """

    def pipeline_loss(self, outputs: Any, targets: Any) -> Tensor:
        """Return the mean loss over what the last stage returns for some of a batch."""


class Pipeline:
    """Runs a batch through the stages of all ranks, micro-batch by micro-batch.

    A schedule differentiates while it runs. Its gradients are kept until somebody differentiates the loss, and are
    what that passes on; so losses can be scaled, accumulated, or not differentiated at all, as with any module.

    Args:
        module: of which the stages are.
        stage: this rank's.
        group: the ranks of the pipeline, in order.
        schedule: which of torch's schedules.
        num_microbatches: how many a batch is cut into, at most: those that divide it.
    """

    def __init__(
        self, module: Pipelined, stage: nn.Module, *, group: Any, schedule: Schedule, num_microbatches: int
    ) -> None:
        self._module: Final = module
        self._stage: Final = stage
        self._group: Final = group
        self._schedule: Final = SCHEDULES[schedule]
        self._num_microbatches: Final = num_microbatches
        self._runs: Final[dict[Any, Any]] = {}

    def __call__(self, inputs: Any, targets: Any) -> Tensor:
        """Return the mean loss of a batch, on every rank. Collective.

        Args:
            inputs: what the first stage takes: a tensor with samples in rows, or a tuple of several.
            targets: a tensor with samples in rows.
        """
        arguments = inputs if isinstance(inputs, tuple) else (inputs,)
        parameters = [one for one in self._stage.parameters() if one.requires_grad]
        if not torch.is_grad_enabled():
            return self._run(arguments, targets, differentiates=False)
        before = [one.grad for one in parameters]
        for parameter in parameters:
            parameter.grad = None
        try:
            loss = self._run(arguments, targets, differentiates=True)
            gradients = [one.grad for one in parameters]
        finally:
            for parameter, gradient in zip(parameters, before, strict=True):
                parameter.grad = gradient
        delivered: Tensor = _Delivered.apply(loss, gradients, *parameters)  # type: ignore[no-untyped-call]
        return delivered

    def _run(self, arguments: tuple[Any, ...], targets: Any, *, differentiates: bool) -> Tensor:
        run = self._run_for(arguments, differentiates=differentiates)
        is_first, is_last = dist.get_rank(self._group) == 0, dist.get_rank(self._group) == self._num_stages - 1
        losses: list[Tensor] = []
        (run.step if differentiates else run.eval)(
            *(arguments if is_first else ()), target=targets if is_last else None, losses=losses if is_last else None
        )
        loss = torch.stack(losses).mean().detach().float() if is_last else torch.zeros((), device=targets.device)
        dist.broadcast(loss, group=self._group, group_src=self._num_stages - 1)
        return loss

    def _run_for(self, arguments: tuple[Any, ...], *, differentiates: bool) -> Any:
        """Return the schedule for batches of this shape, which stages have to know beforehand."""
        shapes = tuple((one.shape, one.dtype) for one in arguments if isinstance(one, Tensor))
        key = shapes, differentiates, torch.is_autocast_enabled(arguments[0].device.type)
        if key not in self._runs:
            stage = PipelineStage(
                self._stage,
                dist.get_rank(self._group),
                self._num_stages,
                device=arguments[0].device,
                group=self._group,
            )
            number = _most_equal_parts(len(arguments[0]), self._num_microbatches)
            # With fewer micro-batches than stages no stage could alternate, and both schedules are the same.
            schedule = self._schedule if number >= self._num_stages else ScheduleGPipe
            if len(self._runs) == _MOST_SHAPES:
                self._runs.pop(next(iter(self._runs)))
            self._runs[key] = schedule(stage, n_microbatches=number, loss_fn=self._module.pipeline_loss)
        return self._runs[key]

    @property
    def _num_stages(self) -> int:
        return dist.get_world_size(self._group)


def _most_equal_parts(size: int, limit: int) -> int:
    """Return into how many parts of one size a batch can be cut; 1 if it comes to the worst."""
    return max(number for number in range(1, limit + 1) if size % number == 0)


class _Delivered(Function):
    """A loss whose gradients are known already."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, gradients: Sequence[Tensor | None], *parameters: Tensor) -> Tensor:
        ctx.gradients = gradients
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        found = (None if one is None else one * scale.to(one.dtype) for one in ctx.gradients)
        return (None, None, *found)
