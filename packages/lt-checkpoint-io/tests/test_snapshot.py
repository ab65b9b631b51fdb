import io
from collections import OrderedDict, defaultdict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lt_checkpoint_io.snapshot import snapshot


def file_size(checkpoint: Any) -> int:
    file = io.BytesIO()
    torch.save(checkpoint, file)
    return len(file.getvalue())


def shares_storage(one: Tensor, other: Tensor) -> bool:
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()


def test_later_changes_of_tensors_and_values_do_not_show() -> None:
    weight = torch.arange(3.0)
    checkpoint = {"state": OrderedDict(weight=weight), "list": [weight, {"a": 1}], "tuple": ([1], weight), "set": {1}}
    taken = snapshot(checkpoint)
    weight.zero_()
    checkpoint["list"][1]["a"] = 2  # type: ignore[index]
    checkpoint["tuple"][0].append(2)  # type: ignore[index,union-attr]
    checkpoint["set"].add(2)  # type: ignore[union-attr]
    assert taken["list"][1] == {"a": 1}
    assert taken["tuple"][0] == [1]
    assert taken["set"] == {1}
    for copy in (taken["state"]["weight"], taken["list"][0], taken["tuple"][1]):
        assert copy.tolist() == [0.0, 1.0, 2.0]


def test_tensors_that_share_storage_share_it_in_the_copy() -> None:
    base = torch.arange(1000.0)
    checkpoint = {"base": base, "rows": base.view(10, 100), "part": base[5:9], "columns": base.view(10, 100).t()}
    taken = snapshot(checkpoint)
    for name, tensor in checkpoint.items():
        assert torch.equal(taken[name], tensor)
        assert taken[name].stride() == tensor.stride()
        assert shares_storage(taken[name], taken["base"])
    assert not shares_storage(taken["base"], base)
    assert file_size(taken) == file_size(checkpoint)


def test_tied_weights_stay_one() -> None:
    model = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False))
    model[1].weight = model[0].weight  # type: ignore[assignment]
    state = model.state_dict()
    taken = snapshot({"state_dict": state})["state_dict"]
    assert shares_storage(taken["0.weight"], taken["1.weight"])
    assert taken._metadata == state._metadata  # type: ignore[attr-defined]
    assert file_size(taken) == file_size(state)


def test_what_is_met_twice_is_copied_once() -> None:
    shared: dict[str, Any] = {"a": 1}
    shared["self"] = shared
    taken = snapshot({"one": shared, "two": [shared]})
    assert taken["one"] is taken["two"][0]
    assert taken["one"]["self"] is taken["one"]
    assert taken["one"] is not shared


@pytest.mark.parametrize(
    "tensor",
    [
        nn.Parameter(torch.ones(2)),
        nn.Parameter(torch.ones(2), requires_grad=False),
        torch.ones(2, requires_grad=True) * 2,
        torch.ones(2, dtype=torch.complex64).conj(),
        torch.empty(0, 3),
        torch.eye(3).to_sparse(),
        torch.tensor(3, dtype=torch.int8),
        torch.arange(4).view(2, 2).t(),
    ],
)
def test_every_kind_of_tensor_is_copied_as_it_is(tensor: Tensor) -> None:
    copied = snapshot({"tensor": tensor})["tensor"]
    assert type(copied) is type(tensor)
    assert copied.requires_grad == (tensor.requires_grad and (tensor.layout is torch.strided))
    assert copied.dtype is tensor.dtype
    assert torch.equal(copied.detach().to_dense(), tensor.detach().to_dense())


def test_dictionaries_keep_their_kind() -> None:
    counts: defaultdict[str, int] = defaultdict(int, a=1)
    taken = snapshot({"counts": counts, "ordered": OrderedDict(b=1, a=2)})
    assert taken["counts"]["missing"] == 0
    assert list(taken["ordered"]) == ["b", "a"]
    assert counts == {"a": 1}


@pytest.mark.gpu
def test_device_tensors_come_to_the_cpu_and_still_share_storage() -> None:
    base = torch.arange(4.0, device="cuda")
    taken = snapshot({"base": base, "part": base[1:]})
    base.zero_()
    assert taken["base"].device.type == taken["part"].device.type == "cpu"
    assert taken["part"].tolist() == [1.0, 2.0, 3.0]
    assert shares_storage(taken["base"], taken["part"])
