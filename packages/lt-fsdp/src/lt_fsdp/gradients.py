"""How the gradients of sharded modules come to be those of all ranks."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from lt_fsdp.sharding import sharded_tops


class ShardedGradientSync:
    """Lets sharded modules average gradients in backward, or accumulate whole ones on each rank.

    While they accumulate, weights that were gathered stay gathered after backward, so that the next micro-batch needn't
    gather them again.

    Args:
        modules: called for the modules that were set up.
    """

    def __init__(self, modules: Callable[[], Iterable[nn.Module]]) -> None:
        self._modules: Final = modules
        self._is_on = True

    def switch(self, *, is_on: bool) -> None:
        if is_on is not self._is_on:
            self._is_on = is_on
            for top in self._tops():
                _switch(top, is_on=is_on)

    def catch_up(self) -> None:
        self.switch(is_on=True)
        for top in self._tops():
            # What runs after each backward; torch has no public name for running it later.
            top._get_fsdp_state()._root_post_backward_final_callback()

    def parameters(self) -> Iterable[Tensor]:
        for module in self._modules():
            yield from module.parameters()

    def _tops(self) -> Iterator[FSDPModule]:
        for module in self._modules():
            yield from sharded_tops(module)


@contextmanager
def unsynchronised(module: nn.Module) -> Iterator[None]:
    """Let backward accumulate the gradients of one module on each rank, without averaging them."""
    tops = list(sharded_tops(module))
    for top in tops:
        _switch(top, is_on=False)
    try:
        yield
    finally:
        for top in tops:
            _switch(top, is_on=True)


def _switch(top: FSDPModule, *, is_on: bool) -> None:
    top.set_requires_gradient_sync(is_on)
    top.set_reshard_after_backward(is_on)
