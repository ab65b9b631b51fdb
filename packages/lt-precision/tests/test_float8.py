import copy
import sys

import pytest
import torch
from torch import nn
from torch.optim import SGD

from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.testing import PrecisionContract, RegressionDataset, TinyRegressor
from lt_precision.float8 import Float8Precision


def all_but_output(module: nn.Module, name: str) -> bool:
    return name != "output"


class TestFloat8Precision(PrecisionContract):
    tolerance = 0.1  # gradients of up to 1, of which 8 bits keep two or three
    sizes = (16, 32)

    @pytest.fixture
    def precision(self) -> Float8Precision:
        return Float8Precision("float8", torch.device("cpu"), module_filter=all_but_output)


class TestRowwiseFloat8Precision(PrecisionContract):
    tolerance = 0.1
    sizes = (16, 32)

    @pytest.fixture
    def precision(self) -> Float8Precision:
        return Float8Precision("float8-rowwise", torch.device("cpu"), module_filter=all_but_output)


class TestEmulatedFloat8Precision(PrecisionContract):
    tolerance = 0.1
    sizes = (16, 32)

    @pytest.fixture
    def precision(self) -> Float8Precision:
        return Float8Precision("float8", module_filter=all_but_output, emulate=True)


@pytest.mark.parametrize("name", ["float8", "float8-rowwise"])
def test_training_learns(name: str) -> None:
    precision = Float8Precision(name, torch.device("cpu"), module_filter=all_but_output)
    module = precision.convert_module(TinyRegressor(16, hidden=32))
    losses = train(precision, module, steps=60)
    assert losses[-1] < losses[0] / 2


def test_multiplies_in_float8() -> None:
    plain = nn.Linear(16, 16, bias=False)
    with torch.no_grad():
        plain.weight.copy_(torch.eye(16))
    module = Float8Precision().convert_module(copy.deepcopy(plain))
    # Between 1.0 and 1.125 there is nothing in e4m3; its largest is 448, so that the scale is 1.
    inputs = torch.full((16, 16), 1.04)
    inputs[0, 0] = 448.0
    assert torch.equal(module(inputs)[1:], torch.ones(15, 16))
    assert not torch.equal(plain(inputs)[1:], torch.ones(15, 16))


@pytest.mark.parametrize(("name", "is_exact"), [("float8", False), ("float8-rowwise", True)])
def test_small_rows_beside_large_ones_keep_their_values_with_a_scale_for_each(name: str, is_exact: bool) -> None:
    layer = Float8Precision(name).convert_module(nn.Linear(16, 16, bias=False))
    with torch.no_grad():
        layer.weight.copy_(torch.eye(16))
    inputs = torch.ones(16, 16)
    inputs[0] = 2.0**20
    assert torch.equal(layer(inputs), inputs) == is_exact


def test_everything_else_computes_in_bfloat16() -> None:
    precision = Float8Precision(device=torch.device("cpu"), module_filter=all_but_output)
    module = precision.convert_module(TinyRegressor(16, hidden=32))
    with precision.forward_context():
        assert module(torch.ones(2, 16)).dtype is torch.bfloat16


@pytest.mark.parametrize("rows", [1, 7, 16])
def test_a_batch_has_any_number_of_rows(rows: int) -> None:
    module = Float8Precision().convert_module(nn.Linear(32, 16))
    module(torch.ones(rows, 32)).sum().backward()
    assert module.weight.grad.shape == (16, 32)
    assert module.config.pad_inner_dim  # what CUDA devices need for it


def test_checkpoints_have_the_keys_and_formats_of_the_plain_module() -> None:
    plain = TinyRegressor(16, hidden=32)
    converted = Float8Precision(module_filter=all_but_output).convert_module(copy.deepcopy(plain))
    found, expected = converted.state_dict(), plain.state_dict()
    assert list(found) == list(expected)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)  # formats too
    TinyRegressor(16, hidden=32, seed=1).load_state_dict(found)


def test_parameters_stay_those_an_optimizer_may_hold_already() -> None:
    module = TinyRegressor(16, hidden=32)
    before = list(module.parameters())
    converted = Float8Precision(module_filter=all_but_output).convert_module(module)
    assert all(one is other for one, other in zip(converted.parameters(), before, strict=True))


def test_the_filter_chooses_layers_by_module_and_full_name() -> None:
    asked = []

    def wanted(module: nn.Module, name: str) -> bool:
        asked.append((type(module).__name__, name))
        return name == "0.hidden"

    module = nn.Sequential(TinyRegressor(16, hidden=32), nn.Tanh(), nn.Linear(16, 16))
    converted = Float8Precision(module_filter=wanted).convert_module(module)
    assert asked == [("Linear", "0.hidden"), ("Linear", "0.output"), ("Linear", "2")]
    kinds = [type(converted.get_submodule(name)).__name__ for name in ("0.hidden", "0.output", "2")]
    assert kinds == ["Float8Linear", "Linear", "Linear"]


def test_sizes_that_float8_cannot_take_are_named_with_a_filter_that_leaves_them_out() -> None:
    module = nn.Sequential(nn.Linear(16, 32), nn.Linear(32, 10), nn.Linear(10, 16))
    with pytest.raises(MisconfigurationException, match=r"`1` \(32 to 10\), `2` \(10 to 16\)") as caught:
        Float8Precision("float8-rowwise").convert_module(module)
    snippet = str(caught.value).partition("pass `plugins=")[2].removesuffix("`.")
    suggested = eval(snippet, {"Float8Precision": Float8Precision})
    assert type(suggested.convert_module(module)[0]).__name__ == "Float8Linear"


def test_a_refused_module_is_left_as_it_was() -> None:
    module = nn.Sequential(nn.Linear(16, 32), nn.Linear(32, 10))
    with pytest.raises(MisconfigurationException):
        Float8Precision().convert_module(module)
    assert type(module[0]) is nn.Linear


def test_attention_which_reads_its_projection_itself_still_works() -> None:
    attention = Float8Precision().convert_module(nn.MultiheadAttention(16, 2, batch_first=True))
    inputs = torch.ones(2, 3, 16)
    assert attention(inputs, inputs, inputs)[0].shape == (2, 3, 16)


@pytest.mark.parametrize("name", ["float8", "float8-rowwise"])
def test_layers_compile_without_a_graph_break(name: str) -> None:
    module = Float8Precision(name, module_filter=all_but_output).convert_module(TinyRegressor(16, hidden=32))
    inputs = torch.randn(2, 16)
    torch._dynamo.reset()  # other tests of this process have compiled the same code for other modules
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(inputs), module(inputs))
    compiled(inputs).sum().backward()
    assert module.hidden.weight.grad is not None


def test_encoder_layers_of_torch_evaluate_what_they_train() -> None:
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(64, 2, 64, batch_first=True, dropout=0.0), 2)
    module, inputs = Float8Precision().convert_module(encoder), torch.randn(2, 3, 64)
    padding = torch.tensor([[False, False, True], [False, False, False]])
    trained = module(inputs, src_key_padding_mask=padding).detach()
    with torch.inference_mode():
        evaluated = module.eval()(inputs, src_key_padding_mask=padding)
    torch.testing.assert_close(evaluated[~padding], trained[~padding], rtol=1e-5, atol=1e-5)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\['float8', 'float8-rowwise'\].*'float9'"):
        Float8Precision("float9")


def test_without_torchao_the_line_that_installs_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao", None)
    with pytest.raises(ModuleNotFoundError, match=r"`precision='float8'`.*pip install 'lt-precision\[torchao\]'"):
        Float8Precision("float8", torch.device("cpu"))


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["float8", "float8-rowwise"])
def test_training_learns_on_a_cuda_device(name: str) -> None:
    device = torch.device("cuda", 0)
    precision = Float8Precision(name, device, module_filter=all_but_output)
    module = precision.convert_module(TinyRegressor(16, hidden=32)).to(device)
    losses = train(precision, module, steps=60)
    assert losses[-1] < losses[0] / 2


@pytest.mark.gpu
def test_a_batch_has_any_number_of_rows_on_a_cuda_device() -> None:
    device = torch.device("cuda", 0)
    precision = Float8Precision("float8", device)
    module = precision.convert_module(nn.Linear(32, 16)).to(device)
    with precision.forward_context():
        loss = module(torch.ones(7, 32, device=device)).sum()
    loss.backward()
    assert module.weight.grad.shape == (16, 32)


@pytest.mark.gpu
def test_a_device_without_float8_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    with pytest.raises(MisconfigurationException, match=r"capability 8.9 or higher.* has 8.0.*bf16-mixed"):
        Float8Precision("float8", torch.device("cuda", 0)).convert_module(nn.Linear(16, 16))


def train(precision: Float8Precision, module: nn.Module, *, steps: int) -> list[float]:
    device = next(module.parameters()).device
    data = RegressionDataset(16, length=32)
    inputs, targets = data.rows.to(device), data.targets.to(device)
    optimizer, losses = SGD(module.parameters(), lr=0.1), []
    for _ in range(steps):
        with precision.forward_context():
            loss = nn.functional.mse_loss(module(inputs).float(), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
