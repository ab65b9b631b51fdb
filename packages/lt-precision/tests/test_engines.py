import subprocess
import sys
from pathlib import Path

import pytest

from lt_precision.engines import INSTALL, engine, is_installed, require_engine


def test_an_engine_is_imported_when_it_is_used() -> None:
    assert engine("torchao.quantization").__name__ == "torchao.quantization"


def test_neither_importing_precisions_nor_looking_for_engines_imports_one() -> None:
    modules = ("float8", "fp8", "weight_only", "bitsandbytes", "transformer_engine", "linear_layers")
    code = f"""
import sys
{"; ".join(f"import lt_precision.{name}" for name in modules)}
from lt_precision.engines import INSTALL, is_installed
assert is_installed("torchao") and is_installed("bitsandbytes")
print([name for name in INSTALL if name in sys.modules])
"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize("name", list(INSTALL))
def test_a_missing_engine_is_named_with_the_line_that_installs_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    assert not is_installed(name)
    with pytest.raises(ModuleNotFoundError) as caught:
        require_engine(name, "`precision='x'`")
    assert str(caught.value).startswith(f"`precision='x'` needs the package `{name}`, which isn't installed.")
    assert str(caught.value).endswith(f"pip install {INSTALL[name]}")


def test_a_missing_engine_is_named_as_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao", None)
    with pytest.raises(ModuleNotFoundError, match="`x` needs the package `torchao`, which isn't installed"):
        engine("torchao.float8", "`x`")


def test_an_engine_that_cannot_be_loaded_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "transformer_engine.py").write_text("raise ImportError('no part for torch')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "transformer_engine", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"can't be imported: no part for torch.*transformer-engine\]'"):
        engine("transformer_engine.pytorch")
