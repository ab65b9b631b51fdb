import pytest
import torch
from fabric_pretence import ManyAccelerator, offer

from lt_fabric.accelerator_choice import choose_accelerator
from lt_fabric.cpu import CPUAccelerator
from lt_fabric.cuda import CUDAAccelerator
from lt_fabric.mps import MPSAccelerator
from lt_interfaces import MisconfigurationException

without_gpu = pytest.mark.skipif(
    CUDAAccelerator().is_available() or MPSAccelerator().is_available(), reason="this machine has a GPU"
)


@without_gpu
def test_auto_falls_back_to_the_cpu() -> None:
    assert choose_accelerator("auto").name == "cpu"


def test_auto_takes_the_available_accelerator_of_the_highest_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, "accelerators", many=ManyAccelerator)
    assert choose_accelerator("auto").name == "many"


def test_an_instance_is_taken_as_it_is() -> None:
    accelerator = CPUAccelerator()
    assert choose_accelerator(accelerator) is accelerator


@pytest.mark.parametrize("name", ["gpu", "cuda", "mps"])
@without_gpu
def test_what_is_missing_is_refused_with_what_is_there(name: str) -> None:
    with pytest.raises(MisconfigurationException, match=rf"`accelerator='{name}'`.*\['cpu'\]"):
        choose_accelerator(name)


def test_a_gpu_is_cuda_where_there_is_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CUDAAccelerator, "is_available", lambda self: True)
    assert choose_accelerator("gpu").name == "cuda"


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="Unknown accelerator `abacus`"):
        choose_accelerator("abacus")


def test_the_strategys_device_decides_under_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CUDAAccelerator, "is_available", lambda self: True)
    assert choose_accelerator("auto", torch.device("cpu")).name == "cpu"
    assert choose_accelerator("gpu", torch.device("cuda", 1)).name == "cuda"


def test_a_device_of_another_kind_is_a_contradiction() -> None:
    with pytest.raises(MisconfigurationException, match=r"`accelerator='cpu'` contradicts.*`cuda:1`"):
        choose_accelerator("cpu", torch.device("cuda", 1))
