"""Nested data becomes tensors and numbers, with the types that Lightning gives."""

from typing import Any

import numpy as np
import pytest
import torch

from lt_fabric.tensor_conversion import convert_tensors_to_scalars, convert_to_tensors, recursive_detach


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (True, torch.uint8),
        (1, torch.int32),
        (2.5, torch.float32),
        (np.arange(3.0), torch.float64),
        (np.arange(3, dtype=np.int16), torch.int16),
        (torch.ones(1, dtype=torch.float64), torch.float64),
    ],
)
def test_numbers_and_arrays_become_tensors(value: Any, dtype: torch.dtype) -> None:
    (converted,) = convert_to_tensors({"a": [value]}, "cpu")["a"]
    assert converted.dtype == dtype
    assert converted.tolist() == (value.tolist() if hasattr(value, "tolist") else value)


def test_what_is_no_number_stays() -> None:
    assert convert_to_tensors({"text": "x", "nothing": None}, "cpu") == {"text": "x", "nothing": None}


def test_all_of_it_is_moved() -> None:
    moved = convert_to_tensors([1, torch.ones(2)], "meta")
    assert [tensor.device.type for tensor in moved] == ["meta", "meta"]


def test_tensors_of_one_element_become_numbers() -> None:
    data = {"a": torch.tensor(1), "b": torch.tensor([2.5]), "c": "x", "d": [torch.tensor(True)]}
    assert convert_tensors_to_scalars(data) == {"a": 1, "b": 2.5, "c": "x", "d": [True]}


def test_a_tensor_of_several_elements_is_refused_by_its_shape() -> None:
    with pytest.raises(ValueError, match=r"not one of shape \(2,\)"):
        convert_tensors_to_scalars([torch.ones(2)])


def test_detached_data_is_off_the_graph() -> None:
    leaf = torch.ones(1, requires_grad=True)
    data = recursive_detach({"loss": leaf * 2, "rest": [leaf * 3, "x"]}, to_cpu=True)
    assert (data["loss"].requires_grad, data["rest"][0].requires_grad) == (False, False)
    assert (data["loss"].item(), data["rest"][1]) == (2.0, "x")
