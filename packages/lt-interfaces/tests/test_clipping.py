import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lt_interfaces.clipping import GradClipAlgorithmType, clip_grad_norm, clip_grad_value

SHARDED = """
import sys
import torch, torch.distributed as dist, torch.multiprocessing as mp
from lt_interfaces.clipping import clip_grad_norm, clip_grad_value

def check(rank, store):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor, init_device_mesh
    line, grid = init_device_mesh("cpu", (2,)), init_device_mesh("cpu", (1, 2), mesh_dim_names=("a", "b"))
    layouts = [(line, [Shard(0)]), (line, [Replicate()]), (grid, [Replicate(), Shard(1)]), (grid, [Shard(0), Shard(0)])]
    torch.manual_seed(0)
    wanted = [torch.randn(4, 3) for _ in range(5)]
    parameters = []
    for grad, (mesh, placements) in zip(wanted, layouts):
        parameter = torch.nn.Parameter(distribute_tensor(torch.zeros(4, 3), mesh, placements))
        parameter.grad = distribute_tensor(grad, mesh, placements)
        parameters.append(parameter)
    plain = torch.nn.Parameter(torch.zeros(4, 3))
    plain.grad = wanted[4].clone()
    whole = lambda: [p.grad.full_tensor() for p in parameters] + [plain.grad]
    for norm_type in (2.0, 1.0, float("inf")):
        expected = torch.linalg.vector_norm(torch.stack(whole()), norm_type)
        norm = clip_grad_norm([*parameters, plain], expected.item() / 2, norm_type=norm_type)
        assert type(norm) is torch.Tensor
        torch.testing.assert_close(norm, expected)
        torch.testing.assert_close(torch.linalg.vector_norm(torch.stack(whole()), norm_type), expected / 2)
    before = whole()
    clip_grad_value([*parameters, plain], 0.05)
    for clipped, grad in zip(whole(), before):
        torch.testing.assert_close(clipped, grad.clamp(-0.05, 0.05))
    dist.barrier()
    dist.destroy_process_group()

if __name__ == "__main__":
    mp.start_processes(check, args=(sys.argv[1],), nprocs=2, start_method="fork")
"""


def parameters_with(*grads: torch.Tensor) -> list[torch.Tensor]:
    parameters: list[torch.Tensor] = []
    for grad in grads:
        parameter = torch.nn.Parameter(torch.zeros_like(grad))
        parameter.grad = grad.clone()
        parameters.append(parameter)
    return parameters


@settings(deadline=None)
@given(
    values=st.lists(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=4), min_size=1, max_size=4),
    max_norm=st.floats(0.125, 20, width=32),
    norm_type=st.sampled_from([1.0, 2.0, 3.0, float("inf")]),
)
def test_gradients_keep_their_direction_and_their_norm_ends_at_the_limit(
    values: list[list[float]], max_norm: float, norm_type: float
) -> None:
    grads = [torch.tensor(value) for value in values]
    parameters = parameters_with(*grads)
    expected = torch.linalg.vector_norm(torch.cat(grads), norm_type)
    norm = clip_grad_norm(parameters, max_norm, norm_type=norm_type)
    torch.testing.assert_close(norm, expected)
    factor = min(1.0, max_norm / (float(expected) + 1e-6))
    for parameter, grad in zip(parameters, grads, strict=True):
        torch.testing.assert_close(parameter.grad, grad * factor)


def test_parameters_without_gradient_are_left_out_and_none_at_all_gives_zero() -> None:
    frozen = torch.nn.Parameter(torch.zeros(2))
    assert clip_grad_norm([frozen], 1.0) == 0
    assert clip_grad_norm(iter([frozen, *parameters_with(torch.tensor([3.0, 4.0]))]), 1.0) == 5
    assert frozen.grad is None


def test_a_single_tensor_is_accepted() -> None:
    (parameter,) = parameters_with(torch.tensor([3.0, 4.0]))
    assert clip_grad_norm(parameter, 10.0) == 5
    clip_grad_value(parameter, 3.5)
    assert parameter.grad is not None
    assert parameter.grad.tolist() == [3.0, 3.5]


def test_nonfinite_norm_raises_only_when_asked_and_leaves_gradients_alone() -> None:
    (parameter,) = parameters_with(torch.tensor([float("inf"), 1.0]))
    with pytest.raises(RuntimeError, match=r"inf.*`error_if_nonfinite=False`"):
        clip_grad_norm([parameter], 1.0, error_if_nonfinite=True)
    assert parameter.grad is not None
    assert parameter.grad[1] == 1
    assert clip_grad_norm([parameter], 1.0).isinf()


def test_sharded_replicated_and_plain_gradients_on_two_meshes_clip_as_one_vector(tmp_path: Path) -> None:
    script = tmp_path / "sharded.py"
    script.write_text(SHARDED)
    command = [sys.executable, str(script), str(tmp_path / "store")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr


def test_algorithms_compare_with_what_users_type() -> None:
    assert GradClipAlgorithmType.NORM == "norm"
    assert GradClipAlgorithmType.VALUE == "value"


def test_import_does_not_load_distributed_tensors() -> None:
    code = "import sys, lt_interfaces.clipping; print('torch.distributed.tensor' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"


def test_an_infinite_limit_measures_alone() -> None:
    weight = torch.nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    before = weight.grad._version
    assert clip_grad_norm([weight], float("inf")) == 5.0
    assert weight.grad._version == before
