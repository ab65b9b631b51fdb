from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lt_interfaces.redirection import StepRedirection


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)  # type: ignore[no-any-return]

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self(batch).sum() + batch_idx  # type: ignore[no-any-return]

    def failing_step(self) -> None:
        message = "from the step"
        raise KeyError(message)


class Doubling(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return 2 * self.inner(*args, **kwargs)


class Idle(nn.Module):
    def forward(self) -> None:
        return None


@pytest.fixture
def one_process_group(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_the_step_runs_through_the_wrapper_with_all_arguments() -> None:
    net, batch = Net(), torch.ones(3, 2)
    output = StepRedirection(Doubling(net), net, name="training_step")(batch, batch_idx=4)
    assert output == 2 * net.training_step(batch, 4)


def test_nested_wrappers_each_see_the_step() -> None:
    net, batch = Net(), torch.ones(3, 2)
    output = StepRedirection(Doubling(Doubling(net)), net, name="training_step")(batch, 1)
    assert output == 4 * net.training_step(batch, 1)


def test_the_modules_own_hooks_fire_when_it_wraps_itself() -> None:
    net, heard = Net(), []
    net.register_forward_pre_hook(lambda _module, args: heard.append(len(args)))
    StepRedirection(net, net, name="training_step")(torch.ones(1, 2), 0)
    assert heard == [2, 1]  # the step, then the forward that the step calls


@pytest.mark.parametrize("name", ["training_step", "failing_step"])
def test_forward_is_the_modules_own_again_also_after_an_exception(name: str) -> None:
    net = Net()
    redirection = StepRedirection(Doubling(net), net, name=name)
    if name == "failing_step":
        with pytest.raises(KeyError, match="from the step"):
            redirection()
    else:
        redirection(torch.ones(1, 2), 0)
    assert "forward" not in vars(net)
    assert net(torch.ones(1, 2)).shape == (1, 1)


def test_a_forward_that_was_replaced_on_the_instance_stays_replaced() -> None:
    net = Net()
    replacement = lambda x: torch.zeros(1)  # noqa: E731
    net.forward = replacement  # type: ignore[method-assign]
    assert StepRedirection(Doubling(net), net, name="training_step")(torch.ones(1, 2), 3) == 6
    assert vars(net)["forward"] is replacement


def test_a_wrapper_that_fails_before_the_module_leaves_forward_alone() -> None:
    net = Net()
    with pytest.raises(TypeError):
        StepRedirection(Idle(), net, name="training_step")("unexpected argument")
    assert "forward" not in vars(net)


def test_an_error_on_its_way_out_gets_what_more_is_known_of_it() -> None:
    net = Net()
    redirection = StepRedirection(
        Doubling(net), net, name="training_step", explain=lambda error: error.add_note("Make it wider.")
    )
    with pytest.raises(RuntimeError) as raised:
        redirection(torch.ones(1, 5), 0)
    assert raised.value.__notes__ == ["Make it wider."]


def test_a_wrapper_of_another_module_is_noticed() -> None:
    net = Net()
    with pytest.raises(RuntimeError, match=r"`training_step` was not run.*Idle.*Net"):
        StepRedirection(Idle(), net, name="training_step")()
    assert "forward" not in vars(net)


@pytest.mark.usefixtures("one_process_group")
def test_data_parallel_prepares_its_gradient_exchange() -> None:
    net = Net()
    wrapped = DistributedDataParallel(net)
    exchanged: list[int] = []

    # torch insists on this annotation
    def exchange(
        _state: None,
        bucket: dist.GradBucket,  # type: ignore[name-defined]
    ) -> torch.futures.Future[torch.Tensor]:
        exchanged.append(bucket.index())
        future: torch.futures.Future[torch.Tensor] = torch.futures.Future()
        future.set_result(bucket.buffer())
        return future

    wrapped.register_comm_hook(None, exchange)
    StepRedirection(wrapped, net, name="training_step")(torch.ones(3, 2), 0).backward()
    assert exchanged == [0]
    assert net.layer.weight.grad is not None
