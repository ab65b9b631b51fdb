from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lt_core.logging.values import is_metric, scalar, to_host, to_tensor


@pytest.mark.parametrize(
    ("value", "expected"), [(3, 3), (2.5, 2.5), (True, 1), (np.float32(0.5), 0.5), (np.int64(7), 7), (np.array(4.0), 4)]
)
def test_numbers_stay_python_numbers(value: Any, expected: float) -> None:
    found = scalar("x", value, enable_graph=False)
    assert isinstance(found, int | float)
    assert found == expected


@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1)])
def test_one_element_tensors_become_scalars(shape: tuple[int, ...]) -> None:
    found = scalar("x", torch.full(shape, 2.0), enable_graph=False)
    assert isinstance(found, Tensor)
    assert found.shape == ()


def test_graphs_are_dropped_unless_wanted() -> None:
    value = torch.ones(1, requires_grad=True) * 2
    dropped, kept = scalar("x", value, enable_graph=False), scalar("x", value, enable_graph=True)
    assert isinstance(dropped, Tensor)
    assert isinstance(kept, Tensor)
    assert not dropped.requires_grad
    assert kept.requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_the_default_format(dtype: torch.dtype) -> None:
    found = scalar("x", torch.tensor(1.5, dtype=dtype), enable_graph=False)
    assert isinstance(found, Tensor)
    assert found.dtype == torch.get_default_dtype()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_full_precision_keeps_its_format(dtype: torch.dtype) -> None:
    found = scalar("x", torch.tensor(1.5, dtype=dtype), enable_graph=False)
    assert isinstance(found, Tensor)
    assert found.dtype == dtype


@pytest.mark.parametrize("value", [2**24 + 1, -(2**53) + 1, torch.tensor(2**24 + 1), torch.tensor(True)])
def test_integers_are_kept_exactly(value: Any) -> None:
    assert to_host({"x": scalar("x", value, enable_graph=False)})["x"] == int(value)


@pytest.mark.parametrize("value", [torch.ones(2), torch.ones(0), "3", None, [1.0], np.ones(2), object()])
def test_what_is_not_one_number_is_refused_by_name(value: Any) -> None:
    with pytest.raises(ValueError, match=r"`self\.log\('loss', value\)`"):
        scalar("loss", value, enable_graph=False)


def test_a_dict_is_refused_with_the_method_that_takes_it() -> None:
    with pytest.raises(ValueError, match=r"use `self\.log_dict`"):
        scalar("losses", {"a": 1.0}, enable_graph=False)


def test_numbers_come_to_the_host_in_the_order_given() -> None:
    found = to_host({"b": torch.tensor(1.0), "n": 3, "a": torch.tensor(2.0, dtype=torch.float64)})
    assert list(found.items()) == [("b", 1.0), ("n", 3), ("a", 2.0)]


def test_all_tensors_come_to_the_host_in_one_transfer(monkeypatch: pytest.MonkeyPatch) -> None:
    transfers = []
    tolist = Tensor.tolist
    monkeypatch.setattr(Tensor, "tolist", lambda self: transfers.append(1) or tolist(self))
    monkeypatch.setattr(Tensor, "item", lambda self: pytest.fail("one value at a time"))
    to_host({str(idx): torch.tensor(float(idx)) for idx in range(5)})
    assert len(transfers) == 1


def test_users_read_tensors() -> None:
    value = torch.tensor(1.0)
    assert to_tensor(value) is value
    assert to_tensor(0.5).dtype == torch.get_default_dtype()
    assert to_tensor(2**40).item() == 2**40


def test_metrics_are_known_by_their_methods() -> None:
    class Count:
        def update(self) -> None: ...
        def compute(self) -> float: ...
        def reset(self) -> None: ...

    assert is_metric(Count())
    assert not is_metric(torch.ones(1))
    assert not is_metric({})
