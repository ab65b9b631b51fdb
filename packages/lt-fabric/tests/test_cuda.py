import os

import pytest
import torch

from lt_fabric.cuda import CUDAAccelerator
from lt_interfaces import MisconfigurationException
from lt_interfaces.testing import AcceleratorContract


class TestCUDAAccelerator(AcceleratorContract):
    @pytest.fixture
    def accelerator(self) -> CUDAAccelerator:
        return CUDAAccelerator()


def test_asking_does_not_initialise_cuda() -> None:
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        pytest.skip("another test has initialised CUDA")
    CUDAAccelerator().is_available()
    CUDAAccelerator().auto_device_count()
    assert not torch.cuda.is_initialized()  # type: ignore[no-untyped-call]


def test_a_device_this_machine_lacks_is_named() -> None:
    with pytest.raises(MisconfigurationException, match=r"lacks \[99\]"):
        CUDAAccelerator().parse_devices([99])


def test_another_kind_of_device_is_refused() -> None:
    with pytest.raises(ValueError, match="`cpu`"):
        CUDAAccelerator().setup_device(torch.device("cpu"))


def test_teardown_without_cuda_is_quiet() -> None:
    CUDAAccelerator().teardown()


@pytest.mark.gpu
def test_devices_are_ordered_as_nvidia_smi_orders_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    CUDAAccelerator().setup_device(torch.device("cuda", 0))
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


@pytest.mark.gpu
def test_memory_is_measured() -> None:
    device = torch.device("cuda", 0)
    CUDAAccelerator().setup_device(device)
    kept = torch.ones(1024, device=device)
    assert CUDAAccelerator().get_device_stats(device)["allocated_bytes.all.current"] >= kept.nbytes
