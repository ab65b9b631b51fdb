import copy
import io
import sys

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam

from lt_interfaces.errors import PossibleUserWarning
from lt_interfaces.testing import PrecisionContract, RegressionDataset, TinyRegressor
from lt_precision.bitsandbytes import BitsandbytesPrecision, bitsandbytes_precision
from lt_precision.bitsandbytes_layers import QuantisedLinear

CPU = torch.device("cpu")
IN_4_BITS = ("nf4", "nf4-dq", "fp4", "fp4-dq")
FROZEN = (*IN_4_BITS, "int8")
MODES = (*FROZEN, "int8-training")


class BitsandbytesContract(PrecisionContract):
    sizes = (64, 64)
    mode: str

    @pytest.fixture
    def precision(self) -> BitsandbytesPrecision:
        return BitsandbytesPrecision(self.mode, device=CPU)


class TestNF4(BitsandbytesContract):
    tolerance = 0.1
    mode = "nf4"


class TestNF4WithQuantisedScales(BitsandbytesContract):
    tolerance = 0.1
    mode = "nf4-dq"


class TestFP4(BitsandbytesContract):
    tolerance = 0.15
    mode = "fp4"


class TestFP4WithQuantisedScales(BitsandbytesContract):
    tolerance = 0.15
    mode = "fp4-dq"


class TestInt8(BitsandbytesContract):
    tolerance = 0.01
    mode = "int8"


class TestInt8Training(BitsandbytesContract):
    tolerance = 0.01
    mode = "int8-training"


class TestNF4InBfloat16(PrecisionContract):
    tolerance = 0.1
    sizes = (64, 64)

    @pytest.fixture
    def precision(self) -> BitsandbytesPrecision:
        return BitsandbytesPrecision("nf4", torch.bfloat16, device=CPU)


@pytest.mark.parametrize("mode", FROZEN)
def test_quantised_weights_are_frozen_and_everything_else_trains(mode: str) -> None:
    module = BitsandbytesPrecision(mode, device=CPU).convert_module(TinyRegressor(64, hidden=64))
    assert [name for name, one in module.named_parameters() if one.requires_grad] == ["hidden.bias", "output.bias"]
    weights, biases = (copies(module, suffix) for suffix in ("weight", "bias"))
    losses = train(module, steps=5)
    assert losses[-1] < losses[0]
    assert all(torch.equal(one, other) for one, other in zip(copies(module, "weight"), weights, strict=True))
    assert not any(torch.equal(one, other) for one, other in zip(copies(module, "bias"), biases, strict=True))


def test_an_adapter_beside_a_quantised_layer_trains() -> None:
    precision = BitsandbytesPrecision("nf4", ignore_modules={"adapter"}, device=CPU)
    module = precision.convert_module(
        nn.ModuleDict({"base": nn.Linear(64, 64), "adapter": nn.Linear(64, 64), "head": nn.Linear(64, 1)})
    )
    inputs = torch.ones(2, 64)
    module["head"](module["base"](inputs) + module["adapter"](inputs)).sum().backward()
    assert module["adapter"].weight.grad.abs().sum() > 0


def test_int8_training_trains_all_weights() -> None:
    module = BitsandbytesPrecision("int8-training", device=CPU).convert_module(TinyRegressor(64, hidden=64))
    weights = copies(module, "weight")
    losses = train(module, steps=30)
    assert losses[-1] < losses[0] / 2
    assert not any(torch.equal(one, other) for one, other in zip(copies(module, "weight"), weights, strict=True))


def test_int8_training_evaluates_with_the_weights_of_the_last_step() -> None:
    precision = BitsandbytesPrecision("int8-training", device=CPU)
    module = precision.convert_module(TinyRegressor(64, hidden=64))
    train(module, steps=3)
    another = precision.convert_module(TinyRegressor(64, hidden=64, seed=1))
    another.load_state_dict(module.state_dict())
    inputs = torch.ones(2, 64)
    with torch.no_grad():
        assert torch.equal(module.eval()(inputs), another.eval()(inputs))


@pytest.mark.parametrize("mode", MODES)
def test_inputs_have_any_number_of_dimensions(mode: str) -> None:
    layer = BitsandbytesPrecision(mode, device=CPU).convert_module(nn.Linear(64, 32))
    inputs = torch.randn(2, 3, 64, requires_grad=True)
    output = layer(inputs)
    output.square().mean().backward()
    assert output.shape == (2, 3, 32)
    assert inputs.grad is not None
    torch.testing.assert_close(output[1], layer(inputs[1]))


@pytest.mark.parametrize("mode", MODES)
def test_evaluation_computes_what_training_computes(mode: str) -> None:
    module = BitsandbytesPrecision(mode, device=CPU).convert_module(TinyRegressor(64, hidden=64))
    inputs = torch.randn(4, 64)
    trained = module(inputs).detach()
    with torch.inference_mode():
        torch.testing.assert_close(module.eval()(inputs), trained)
    torch.testing.assert_close(module.train()(inputs).detach(), trained, rtol=0, atol=0)


@pytest.mark.parametrize("mode", MODES)
def test_encoder_layers_of_torch_evaluate_what_they_train(mode: str) -> None:
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(64, 2, 64, batch_first=True, dropout=0.0), 2)
    module, inputs = BitsandbytesPrecision(mode, device=CPU).convert_module(encoder), torch.randn(2, 3, 64)
    padding = torch.tensor([[False, False, True], [False, False, False]])
    trained = module(inputs, src_key_padding_mask=padding).detach()
    with torch.inference_mode():
        evaluated = module.eval()(inputs, src_key_padding_mask=padding)
    torch.testing.assert_close(evaluated[~padding], trained[~padding], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        # 256 * 512 weights: half a byte each, a float for 64 of them, and the 16 numbers that 4 bits stand for
        ("nf4", 256 * 512 // 2 + 4 * 256 * 512 // 64 + 4 * 16),
        ("fp4", 256 * 512 // 2 + 4 * 256 * 512 // 64 + 4 * 16),
        # one byte for 64 of them, a float for 256 of these, the 256 numbers that bytes stand for, and their mean
        ("nf4-dq", 256 * 512 // 2 + 256 * 512 // 64 + 4 * 256 * 512 // 64 // 256 + 4 * (16 + 256 + 1)),
        ("fp4-dq", 256 * 512 // 2 + 256 * 512 // 64 + 4 * 256 * 512 // 64 // 256 + 4 * (16 + 256 + 1)),
        # one byte each, a float for every row
        ("int8", 256 * 512 + 4 * 512),
    ],
)
def test_bytes_of_quantised_weights(mode: str, expected: int) -> None:
    layer = BitsandbytesPrecision(mode, device=CPU).convert_module(nn.Linear(256, 512, bias=False))
    stored = (*layer.parameters(), *layer.buffers())
    assert sum(tensor.nbytes for tensor in stored) == expected


@pytest.mark.parametrize("mode", MODES)
def test_its_state_loads_bit_for_bit(mode: str) -> None:
    precision = BitsandbytesPrecision(mode, device=CPU)
    module, another = (precision.convert_module(TinyRegressor(64, hidden=64, seed=seed)) for seed in (0, 1))
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    another.load_state_dict(torch.load(file, weights_only=True))
    torch.testing.assert_close(another.state_dict(), module.state_dict(), rtol=0, atol=0)


def test_int8_training_stores_a_plain_checkpoint() -> None:
    plain = TinyRegressor(64, hidden=64)
    module = BitsandbytesPrecision("int8-training", device=CPU).convert_module(copy.deepcopy(plain))
    torch.testing.assert_close(module.state_dict(), plain.state_dict(), rtol=0, atol=0)


def test_int8_loads_what_layers_of_bitsandbytes_stored() -> None:
    import bitsandbytes

    theirs = bitsandbytes.nn.Linear8bitLt(64, 32, has_fp16_weights=False).to("cpu")
    layer = BitsandbytesPrecision("int8", device=CPU).convert_module(nn.Linear(64, 32))
    layer.load_state_dict(theirs.state_dict())
    inputs = torch.randn(2, 64)
    torch.testing.assert_close(layer(inputs), theirs(inputs))


@pytest.mark.parametrize("mode", IN_4_BITS)
def test_computes_what_a_layer_of_bitsandbytes_computes(mode: str) -> None:
    import bitsandbytes

    plain = nn.Linear(64, 32)
    theirs = bitsandbytes.nn.Linear4bit(64, 32, quant_type=mode[:3], compress_statistics=mode.endswith("-dq"))
    theirs.load_state_dict(plain.state_dict())
    theirs = theirs.to("cpu")
    inputs = torch.randn(2, 64)
    layer = BitsandbytesPrecision(mode, device=CPU).convert_module(copy.deepcopy(plain))
    torch.testing.assert_close(layer(inputs), theirs(inputs))


@pytest.mark.parametrize("mode", FROZEN)
def test_weights_of_another_shape_are_refused(mode: str) -> None:
    layer = BitsandbytesPrecision(mode, device=CPU).convert_module(nn.Linear(64, 32))
    with pytest.raises(RuntimeError, match="size mismatch for weight"):
        layer.load_state_dict(nn.Linear(32, 32).state_dict())


@pytest.mark.parametrize("mode", FROZEN)
def test_scales_keep_their_format_when_a_module_is_cast(mode: str) -> None:
    layer = BitsandbytesPrecision(mode, device=CPU).convert_module(nn.Linear(64, 32))
    before = copy.deepcopy(layer.state_dict())
    after = layer.to(torch.bfloat16).state_dict()
    assert after.pop("bias").dtype is torch.bfloat16
    before.pop("bias")
    torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_an_optimizer_finds_its_parameters_after_loading() -> None:
    precision = BitsandbytesPrecision("nf4", device=CPU)
    module = precision.convert_module(TinyRegressor(64, hidden=64))
    before = list(module.parameters())
    module.load_state_dict(TinyRegressor(64, hidden=64, seed=1).state_dict())
    assert all(one is other for one, other in zip(module.parameters(), before, strict=True))
    optimizer = Adam(module.parameters())  # with the frozen ones, as users write it
    module(torch.ones(1, 64)).sum().backward()
    optimizer.step()


def test_an_optimizer_made_before_keeps_no_plain_weights() -> None:
    module = TinyRegressor(64, hidden=64)
    optimizer = Adam(module.parameters())
    converted = BitsandbytesPrecision("nf4", device=CPU).convert_module(module)
    assert sum(one.nbytes for one in optimizer.param_groups[0]["params"]) == (64 * 64 + 64) // 2 + 4 * (64 + 1)
    converted(torch.ones(1, 64)).sum().backward()
    optimizer.step()


def test_ignored_modules_stay_as_they_are_with_all_inside_of_them() -> None:
    module = nn.ModuleDict(
        {"body": TinyRegressor(64, hidden=64), "bodyguard": nn.Linear(64, 64), "head": nn.Linear(64, 1)}
    )
    converted = BitsandbytesPrecision("nf4", ignore_modules={"body", "head"}, device=CPU).convert_module(module)
    assert [name for name, one in converted.named_modules() if isinstance(one, QuantisedLinear)] == ["bodyguard"]


def test_a_name_to_ignore_that_is_not_there_is_told() -> None:
    precision = BitsandbytesPrecision("nf4", ignore_modules={"lm_haed"}, device=CPU)
    with pytest.warns(PossibleUserWarning, match=r"`ignore_modules` names \['lm_haed'\], which TinyRegressor"):
        precision.convert_module(TinyRegressor(64, hidden=64))


def test_a_string_to_ignore_is_refused() -> None:
    with pytest.raises(TypeError, match=r"pass \{'lm_head'\}"):
        BitsandbytesPrecision("nf4", ignore_modules="lm_head", device=CPU)


def test_layers_that_share_their_weight_stay_as_they_are() -> None:
    module = nn.ModuleDict({"embedding": nn.Embedding(32, 64), "head": nn.Linear(64, 32, bias=False)})
    module["head"].weight = module["embedding"].weight
    converted = BitsandbytesPrecision("nf4", device=CPU).convert_module(module)
    assert type(converted["head"]) is nn.Linear
    assert converted["head"].weight is converted["embedding"].weight
    assert converted["embedding"](torch.tensor([1])).shape == (1, 64)


def test_everything_else_is_kept_in_the_format_asked_for() -> None:
    module = nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64))
    precision = BitsandbytesPrecision("nf4", torch.bfloat16, device=CPU)
    converted = precision.convert_module(module)
    assert {converted[0].bias.dtype, converted[1].weight.dtype} == {torch.bfloat16}
    assert precision.convert_input(torch.ones(1)).dtype is torch.bfloat16
    with precision.forward_context():
        assert torch.ones(1).dtype is torch.bfloat16
    with precision.module_init_context():
        assert nn.Linear(1, 1).weight.dtype is torch.bfloat16


def test_a_module_can_be_copied() -> None:
    module = BitsandbytesPrecision("nf4-dq", device=CPU).convert_module(TinyRegressor(64, hidden=64))
    inputs = torch.randn(2, 64)
    assert torch.equal(copy.deepcopy(module)(inputs), module(inputs))


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch does it, in tracing
@pytest.mark.parametrize("mode", MODES)
def test_layers_compile_without_a_graph_break(mode: str) -> None:
    module = BitsandbytesPrecision(mode, device=CPU).convert_module(TinyRegressor(64, hidden=64))
    inputs = torch.randn(2, 64)
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(inputs), module(inputs))
    compiled(inputs).sum().backward()
    assert module.hidden.bias.grad is not None


def test_cannot_be_sharded() -> None:
    assert not BitsandbytesPrecision("nf4", device=CPU).dtypes().is_shardable


def test_a_cpu_computes_in_32_bits_unless_told_otherwise() -> None:
    assert [bitsandbytes_precision(mode, CPU).dtype for mode in MODES] == [torch.float32] * len(MODES)


@pytest.mark.parametrize(("mode", "expected"), [("nf4", torch.bfloat16), ("int8", torch.float16)])
def test_a_cuda_device_computes_in_16_bits_unless_told_otherwise(
    mode: str, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert bitsandbytes_precision(mode, torch.device("cuda")).dtype is expected


def test_unknown_modes_and_formats_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'nf4', 'nf4-dq'.*not 'nf5'"):
        BitsandbytesPrecision("nf5")
    with pytest.raises(ValueError, match=r"`dtype` must be one of.*not torch.int8"):
        BitsandbytesPrecision("nf4", torch.int8)


def test_without_bitsandbytes_the_line_that_installs_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ModuleNotFoundError, match=r"`precision='nf4'`.*pip install 'lt-precision\[bitsandbytes\]'"):
        bitsandbytes_precision("nf4", CPU)


@pytest.mark.gpu
@pytest.mark.parametrize("mode", MODES)
def test_trains_on_a_cuda_device_where_it_was_converted_before(mode: str) -> None:
    device = torch.device("cuda", 0)
    precision = bitsandbytes_precision(mode, device)
    module = precision.convert_module(TinyRegressor(64, hidden=64)).to(device)
    losses = train(module, steps=10, precision=precision)
    assert losses[-1] < losses[0]


def copies(module: nn.Module, suffix: str) -> list[torch.Tensor]:
    return [one.detach().clone() for name, one in module.named_parameters() if name.endswith(suffix)]


def train(module: nn.Module, *, steps: int, precision: BitsandbytesPrecision | None = None) -> list[float]:
    data, first = RegressionDataset(64, length=32), next(module.parameters())
    inputs, targets = data.rows.to(first.device), data.targets.to(first.device)
    if precision is not None:
        inputs = precision.convert_input(inputs)
    optimizer, losses = SGD(module.parameters(), lr=0.05), []
    for _ in range(steps):
        loss = nn.functional.mse_loss(module(inputs).float(), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
