import copy
import sys

import pytest
import torch
import toy_transformer_engine
from torch import nn
from torch.optim import SGD

from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.testing import PrecisionContract, RegressionDataset, TinyRegressor
from lt_precision.transformer_engine import (
    TransformerEnginePrecision,
    layers_to_replace,
    transformer_engine_precision,
)


@pytest.fixture
def _toy_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    toy_transformer_engine.install(monkeypatch)


@pytest.mark.usefixtures("_toy_engine")
class TestTransformerEnginePrecision(PrecisionContract):
    """With the stand-in, in 32 bits, all that's ours is exact."""

    @pytest.fixture
    def precision(self) -> TransformerEnginePrecision:
        return TransformerEnginePrecision(torch.float32, replace_layers=lambda module, name: name == "hidden")

    sizes = (16, 32)


@pytest.mark.usefixtures("_toy_engine")
class TestTransformerEngineInBfloat16(PrecisionContract):
    tolerance = 0.1
    sizes = (16, 32)

    @pytest.fixture
    def precision(self) -> TransformerEnginePrecision:
        return TransformerEnginePrecision(torch.bfloat16, replace_layers=lambda module, name: name == "hidden")


def model() -> nn.Module:
    return nn.Sequential(nn.LayerNorm(16, eps=1e-3), nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 16, bias=False))


@pytest.mark.parametrize("replace_layers", [None, True])
def test_linear_layers_and_layer_norms_are_replaced(replace_layers: bool | None) -> None:
    linear, norms = layers_to_replace(model(), replace_layers)
    assert [name for name, _ in linear] == ["1", "3"]
    assert [name for name, _ in norms] == ["0"]


def test_nothing_is_replaced_when_told_so() -> None:
    assert layers_to_replace(model(), False) == ([], [])


def test_a_filter_chooses_layers_by_module_and_full_name() -> None:
    linear, norms = layers_to_replace(model(), lambda module, name: isinstance(module, nn.Linear) and name != "1")
    assert [name for name, _ in linear] == ["3"]
    assert norms == []


def test_norms_that_the_engine_lacks_stay() -> None:
    odd = nn.Sequential(nn.LayerNorm((2, 16)), nn.LayerNorm(16, bias=False), nn.LayerNorm(16, elementwise_affine=False))
    assert layers_to_replace(odd, None) == ([], [])


@pytest.mark.usefixtures("_toy_engine")
def test_a_module_with_layers_of_the_engine_keeps_its_others_unless_told_otherwise() -> None:
    module = nn.Sequential(
        toy_transformer_engine.Linear(16, 16, bias=True, params_dtype=torch.float32), nn.Linear(16, 16)
    )
    assert layers_to_replace(module, None) == ([], [])
    assert [name for name, _ in layers_to_replace(module, True)[0]] == ["1"]


@pytest.mark.usefixtures("_toy_engine")
def test_replacements_have_the_same_weights() -> None:
    plain = model()
    plain[1].weight.requires_grad_(False)
    converted = TransformerEnginePrecision(torch.float32).convert_module(copy.deepcopy(plain))
    assert [type(converted[at]) for at in (0, 1, 3)] == [
        toy_transformer_engine.LayerNorm,
        toy_transformer_engine.Linear,
        toy_transformer_engine.Linear,
    ]
    assert not converted[1].weight.requires_grad
    inputs = torch.randn(4, 16)
    assert torch.equal(converted(inputs), plain(inputs))


@pytest.mark.usefixtures("_toy_engine")
def test_everything_is_kept_in_the_format_of_the_weights() -> None:
    module = nn.ModuleDict({"embedding": nn.Embedding(4, 16), "head": nn.Linear(16, 16)})
    converted = transformer_engine_precision("transformer-engine-float16").convert_module(module)
    assert {parameter.dtype for parameter in converted.parameters()} == {torch.float16}


@pytest.mark.usefixtures("_toy_engine")
def test_sizes_that_the_engine_cannot_take_are_named_with_a_filter_that_leaves_them_out() -> None:
    module = nn.Sequential(nn.Linear(16, 32), nn.Linear(32, 10))
    with pytest.raises(MisconfigurationException, match=r"multiples of 16.*`1` \(32 to 10\)") as caught:
        TransformerEnginePrecision(torch.bfloat16).convert_module(module)
    snippet = str(caught.value).partition("pass `plugins=")[2].removesuffix("`.")
    suggested = eval(snippet, {"TransformerEnginePrecision": TransformerEnginePrecision, "torch": torch})
    assert type(suggested.convert_module(module)[0]) is toy_transformer_engine.Linear


@pytest.mark.usefixtures("_toy_engine")
def test_steps_run_in_the_engines_context_with_its_recipe() -> None:
    recipe = object()
    precision = TransformerEnginePrecision(torch.float32, recipe, fallback_compute_dtype=torch.bfloat16)
    context = precision.forward_context()
    context.__enter__()
    assert toy_transformer_engine.entered == [recipe]
    assert context.__exit__(KeyError, KeyError(), None) is not True
    assert toy_transformer_engine.entered == [recipe, "left"]


@pytest.mark.usefixtures("_toy_engine")
def test_a_recipe_may_be_given_by_its_arguments() -> None:
    precision = TransformerEnginePrecision(torch.float32, {"fp8_format": "HYBRID", "amax_history_len": 16})
    with precision.forward_context():
        (recipe,) = toy_transformer_engine.entered
    with precision.forward_context():
        assert toy_transformer_engine.entered[-1] is recipe  # which the engine knows its statistics by
    assert recipe.arguments == {"fp8_format": toy_transformer_engine.Format.HYBRID, "amax_history_len": 16}


@pytest.mark.usefixtures("_toy_engine")
def test_an_engine_of_the_first_releases_is_entered_by_its_old_name(monkeypatch: pytest.MonkeyPatch) -> None:
    pytorch = sys.modules["transformer_engine.pytorch"]
    monkeypatch.delattr(pytorch, "autocast")
    old = lambda enabled, fp8_recipe: toy_transformer_engine.autocast(enabled=enabled, recipe=fp8_recipe)  # noqa: E731
    monkeypatch.setattr(pytorch, "fp8_autocast", old, raising=False)
    with TransformerEnginePrecision(torch.float32, "a recipe").forward_context():
        assert toy_transformer_engine.entered == ["a recipe"]


@pytest.mark.usefixtures("_toy_engine")
def test_everything_else_computes_in_the_fallback_format() -> None:
    precision = TransformerEnginePrecision(torch.float32, fallback_compute_dtype=torch.bfloat16)
    with precision.forward_context():
        assert torch.is_autocast_enabled("cpu")
        assert torch.get_autocast_dtype("cpu") is torch.bfloat16
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.usefixtures("_toy_engine")
@pytest.mark.parametrize(
    ("name", "dtype"), [("transformer-engine", torch.bfloat16), ("transformer-engine-float16", torch.float16)]
)
def test_names_say_the_format_of_weights(name: str, dtype: torch.dtype) -> None:
    precision = transformer_engine_precision(name, torch.device("cuda"))
    assert precision.precision == name
    assert precision.dtypes().param is dtype
    assert not precision.dtypes().is_shardable


@pytest.mark.usefixtures("_toy_engine")
def test_a_cpu_is_refused_with_what_runs_there() -> None:
    with pytest.raises(MisconfigurationException, match=r"not on 'cpu'.*`precision='float8'`"):
        transformer_engine_precision("transformer-engine", torch.device("cpu"))


@pytest.mark.usefixtures("_toy_engine")
def test_unknown_names_and_formats_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'transformer-engine', 'transformer-engine-float16'.*'te'"):
        transformer_engine_precision("te")
    with pytest.raises(ValueError, match=r"`weights_dtype` must be one of.*not torch.float64"):
        TransformerEnginePrecision(torch.float64)


def test_without_the_engine_the_line_that_installs_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformer_engine", None)
    install = r"pip install 'lt-precision\[transformer-engine\]'"
    with pytest.raises(ModuleNotFoundError, match=rf"`precision='transformer-engine'`.*{install}"):
        transformer_engine_precision("transformer-engine", torch.device("cuda"))
    with pytest.raises(ModuleNotFoundError, match=install):
        TransformerEnginePrecision(torch.bfloat16)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_training_learns_on_a_cuda_device(dtype: torch.dtype) -> None:
    pytest.importorskip("transformer_engine.pytorch")
    device, data = torch.device("cuda", 0), RegressionDataset(16, length=32)
    precision = TransformerEnginePrecision(dtype, replace_layers=lambda module, name: name == "hidden")
    module = precision.convert_module(TinyRegressor(16, hidden=32)).to(device)
    inputs, targets = precision.convert_input((data.rows.to(device), data.targets.to(device)))
    optimizer, losses = SGD(module.parameters(), lr=0.1), []
    for _ in range(60):
        with precision.forward_context():
            loss = nn.functional.mse_loss(module(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


@pytest.mark.gpu
def test_a_plain_checkpoint_loads_on_a_cuda_device() -> None:
    pytest.importorskip("transformer_engine.pytorch")
    plain = model()
    module = TransformerEnginePrecision(torch.bfloat16).convert_module(model())
    module.load_state_dict(plain.state_dict())
    torch.testing.assert_close(module[1].weight.cpu(), plain[1].weight.to(torch.bfloat16))
