import copy
import io
import sys

import pytest
import torch
from torch import Tensor, nn

from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.testing import PrecisionContract, TinyRegressor
from lt_precision.weight_only import WeightOnlyPrecision

CPU = torch.device("cpu")


class TestInt8WeightOnly(PrecisionContract):
    trains = False
    sizes = (16, 32)

    @pytest.fixture
    def precision(self) -> WeightOnlyPrecision:
        return WeightOnlyPrecision("int8-weight-only", CPU)


@pytest.mark.gpu
class TestInt4WeightOnly(PrecisionContract):
    trains = False
    sizes = (128, 128)

    @pytest.fixture
    def precision(self) -> WeightOnlyPrecision:
        pytest.importorskip("mslk")
        return WeightOnlyPrecision("int4-weight-only", torch.device("cuda", 0))


def test_bytes_of_quantised_weights() -> None:
    layer = WeightOnlyPrecision("int8-weight-only", CPU).convert_module(nn.Linear(256, 512, bias=False))
    # one byte for each weight, and for each row a float and one byte more
    assert stored_bytes(layer.weight) == 256 * 512 + 4 * 512 + 512


def test_predictions_are_nearly_those_of_the_plain_module() -> None:
    plain, inputs = TinyRegressor(16, hidden=32), torch.randn(8, 16)
    module = WeightOnlyPrecision("int8-weight-only", CPU).convert_module(copy.deepcopy(plain))
    torch.testing.assert_close(module(inputs), plain(inputs), rtol=0, atol=0.02)
    assert not torch.equal(module(inputs), plain(inputs))


def test_weights_of_layers_are_frozen() -> None:
    module = WeightOnlyPrecision("int8-weight-only", CPU).convert_module(TinyRegressor(16, hidden=32))
    assert [name for name, one in module.named_parameters() if not one.requires_grad] == [
        "hidden.weight",
        "output.weight",
    ]


def test_its_state_loads_bit_for_bit() -> None:
    precision = WeightOnlyPrecision("int8-weight-only", CPU)
    module, another = (precision.convert_module(TinyRegressor(16, hidden=32, seed=seed)) for seed in (0, 1))
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    another.load_state_dict(torch.load(file, weights_only=True))
    for name in ("hidden", "output"):
        one, other = (each.get_submodule(name).weight for each in (module, another))
        assert torch.equal(one.qdata, other.qdata)
        assert torch.equal(one.scale, other.scale)


def test_weights_of_another_shape_are_refused() -> None:
    layer = WeightOnlyPrecision("int8-weight-only", CPU).convert_module(nn.Linear(16, 32))
    with pytest.raises(RuntimeError, match="size mismatch for weight"):
        layer.load_state_dict(nn.Linear(32, 32).state_dict())


def test_the_filter_chooses_layers() -> None:
    precision = WeightOnlyPrecision("int8-weight-only", CPU, module_filter=lambda module, name: name == "hidden")
    module = precision.convert_module(TinyRegressor(16, hidden=32))
    assert [hasattr(layer.weight, "qdata") for layer in (module.hidden, module.output)] == [True, False]


def test_layers_that_share_their_weight_stay_as_they_are() -> None:
    module = nn.ModuleDict({"embedding": nn.Embedding(32, 64), "head": nn.Linear(64, 32, bias=False)})
    module["head"].weight = module["embedding"].weight
    converted = WeightOnlyPrecision("int8-weight-only", CPU).convert_module(module)
    assert converted["head"].weight is converted["embedding"].weight


def test_training_is_refused_with_what_trains_instead() -> None:
    with pytest.raises(MisconfigurationException, match=r"'int8-weight-only'` is for validating.*'int8-training'"):
        WeightOnlyPrecision("int8-weight-only", CPU).backward(torch.ones(()), Tensor.backward)


def test_cannot_be_sharded() -> None:
    assert not WeightOnlyPrecision("int8-weight-only", CPU).dtypes().is_shardable


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'int8-weight-only', 'int4-weight-only'.*'int2'"):
        WeightOnlyPrecision("int2")


@pytest.mark.parametrize("name", ["int8-weight-only", "int4-weight-only"])
def test_without_torchao_the_line_that_installs_it_is_given(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao", None)
    with pytest.raises(ModuleNotFoundError, match=rf"`precision='{name}'`.*pip install 'lt-precision\[torchao\]'"):
        WeightOnlyPrecision(name, CPU)


def test_4_bits_need_a_package_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mslk", None)
    with pytest.raises(ModuleNotFoundError, match=r"`mslk`.*pip install 'mslk-cuda>=1.0.0'"):
        WeightOnlyPrecision("int4-weight-only", torch.device("cuda"))


def test_4_bits_are_refused_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lt_precision.weight_only.require_engine", lambda name, why: None)
    with pytest.raises(MisconfigurationException, match=r"not on 'cpu'.*'int8-weight-only'"):
        WeightOnlyPrecision("int4-weight-only", CPU)


@pytest.mark.gpu
def test_bytes_of_weights_in_4_bits() -> None:
    pytest.importorskip("mslk")
    layer = WeightOnlyPrecision("int4-weight-only").convert_module(nn.Linear(256, 512, bias=False))
    # half a byte for each weight; for 128 of them a scale and a zero point in two bytes each
    assert stored_bytes(layer.weight) == 256 * 512 // 2 + 2 * 2 * 256 * 512 // 128


def stored_bytes(weight: Tensor) -> int:
    return sum(part.nbytes for part in vars(weight).values() if isinstance(part, Tensor))
