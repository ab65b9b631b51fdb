import sys

import pytest
import torch
import toy_transformer_engine

from lt_precision.float8 import Float8Precision
from lt_precision.fp8 import fp8_precision
from lt_precision.transformer_engine import TransformerEnginePrecision

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_transformer_engine_is_taken_on_a_cuda_device(monkeypatch: pytest.MonkeyPatch) -> None:
    toy_transformer_engine.install(monkeypatch)
    precision = fp8_precision("fp8-mixed", CUDA)
    assert isinstance(precision, TransformerEnginePrecision)
    assert precision.precision == "fp8-mixed"
    assert precision.dtypes().param is torch.float32


def test_torchao_is_taken_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    toy_transformer_engine.install(monkeypatch)
    assert isinstance(fp8_precision("fp8-mixed", CPU), Float8Precision)


def test_torchao_is_taken_where_transformer_engine_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformer_engine", None)
    assert isinstance(fp8_precision("fp8-mixed", CUDA), Float8Precision)


def test_without_any_engine_the_lines_that_install_both_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torchao", "transformer_engine"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError) as caught:
        fp8_precision("fp8-mixed", CUDA)
    assert "`precision='fp8-mixed'`" in str(caught.value)
    assert "pip install 'lt-precision[torchao]'" in str(caught.value)
    assert "pip install 'lt-precision[transformer-engine]'" in str(caught.value)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="must be 'fp8-mixed'"):
        fp8_precision("fp8-true")
