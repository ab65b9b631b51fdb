import ast
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

import lt

STUB = Path(lt.__file__).with_suffix(".pyi")
INSTALLED = sorted(name for name, module in {**lt._OWNERS, **lt._PACKAGES}.items() if find_spec(module))
MISSING = sorted(name for name, module in lt._PACKAGES.items() if not find_spec(module))


def run(code: str) -> str:
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return finished.stdout.strip()


def test_import_loads_neither_torch_nor_any_of_our_packages() -> None:
    code = "import sys, lt; print([m for m in sys.modules if m == 'torch' or m.startswith('lt_')])"
    assert run(code) == "[]"


def test_a_part_is_loaded_on_first_use_alone() -> None:
    code = (
        "import sys, lt; lt.datamodules; print(sorted({m.split('.')[0] for m in sys.modules if m.startswith('lt_')}))"
    )
    assert run(code) == "['lt_datamodules', 'lt_interfaces']"


@pytest.mark.parametrize("name", INSTALLED)
def test_every_installed_part_is_found_and_remembered(name: str) -> None:
    found = getattr(lt, name)
    assert vars(lt)[name] is found
    assert name in dir(lt)


def test_packages_are_the_packages_themselves() -> None:
    import lt_callbacks

    assert lt.callbacks is lt_callbacks
    assert lt.callbacks.Callback is lt.Callback


@pytest.mark.parametrize("name", MISSING)
def test_missing_packages_name_their_install_line(name: str) -> None:
    with pytest.raises(ImportError, match=rf"`lt\.{name}` needs .* pip install lt-{name.replace('_', '-')}$"):
        getattr(lt, name)
    assert name not in dir(lt)


def test_errors_inside_a_package_are_not_taken_for_its_absence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lt_broken.py").write_text("import no_such_module")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(lt._PACKAGES, "broken", "lt_broken")
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_module'"):
        getattr(lt, "broken")  # noqa: B009 (the name is known at run time alone)


def test_unknown_names_are_attribute_errors_that_python_can_correct() -> None:
    code = "import sys, lt\ntry:\n    lt.Trianer\nexcept AttributeError as error:\n    sys.excepthook(*sys.exc_info())"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "Did you mean: 'Trainer'?" in finished.stderr


def test_version_is_that_of_the_distribution() -> None:
    assert lt.__version__ == version("lt-all")


def test_type_checkers_see_what_is_there() -> None:
    tree = ast.parse(STUB.read_text())
    imported = {(one.asname or one.name) for node in ast.walk(tree) for one in getattr(node, "names", ())}
    assert sorted(imported) == INSTALLED
