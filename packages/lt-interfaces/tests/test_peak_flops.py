"""What devices can do is found by their names."""

import pytest
import torch

from lt_interfaces.peak_flops import get_available_flops

CUDA = torch.device("cuda")


@pytest.mark.parametrize(
    ("name", "dtype", "teraflops"),
    [
        ("NVIDIA H100 80GB HBM3", torch.bfloat16, 989.4),
        ("NVIDIA H100 PCIe", torch.bfloat16, 756),
        ("NVIDIA H100 NVL", torch.float16, 835),
        ("NVIDIA H200", torch.bfloat16, 989.4),
        ("NVIDIA A100-SXM4-80GB", torch.float16, 312),
        ("NVIDIA A10G", torch.float16, 70),
        ("NVIDIA A10", torch.float16, 125),
        ("NVIDIA L40S", torch.bfloat16, 362),
        ("NVIDIA L4", torch.int8, 242),
        ("Tesla T4", torch.float16, 65),
        ("Tesla V100-SXM2-16GB", torch.float16, 125),
        ("NVIDIA GeForce RTX 4090", torch.float32, 82.6),
    ],
)
def test_known_devices_have_their_rates(
    name: str, dtype: torch.dtype, teraflops: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: name)
    assert get_available_flops(CUDA, dtype) == int(teraflops * 1e12)


def test_formats_that_a_device_doesnt_have_have_no_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "Tesla T4")
    assert get_available_flops(CUDA, torch.bfloat16) is None
    assert get_available_flops(CUDA, torch.float64) is None


def test_float32_is_tf32_where_torch_may_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "NVIDIA A100-SXM4-80GB")
    assert get_available_flops(CUDA, torch.float32) == int(19.5e12)
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    assert get_available_flops(CUDA, torch.float32) == int(156e12)


@pytest.mark.parametrize("name", ["Abacus 3000", "NVIDIA RTX A1000", "NVIDIA T400"])
def test_unknown_devices_are_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: name)
    with pytest.warns(UserWarning, match=f"'{name}'.*`available_flops`"):
        assert get_available_flops(CUDA, torch.float16) is None
    assert get_available_flops(torch.device("cpu"), torch.float16) is None


@pytest.mark.gpu
def test_this_device_has_a_rate_or_is_named() -> None:
    assert (get_available_flops(CUDA, torch.float16) or 1) > 0
