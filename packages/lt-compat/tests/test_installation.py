import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from subprocess import CompletedProcess

import pytest

import lt_compat
from workspace import ROOT

Run = Callable[..., CompletedProcess[str]]
SOURCE = Path(lt_compat.__file__).parent
STAND_INS = ROOT / "stand-ins/lt-compat-names/src"
WHOSE = "import lightning.pytorch as pl; print(pl.Trainer.__module__)"


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """Return a folder to put on the path, in which something is installed that looks like a real Lightning."""
    folder = tmp_path / "real"
    (folder / "lightning/pytorch").mkdir(parents=True)
    (folder / "lightning/__init__.py").write_text("__version__ = '2.6.6'\n")
    (folder / "lightning/pytorch/__init__.py").write_text("class Trainer: pass\n")
    return folder


def test_package_is_installed_under_its_name() -> None:
    assert lt_compat.__name__ == "lt_compat"
    assert version("lt-compat")


def test_importing_costs_nothing_but_the_table(python: Run) -> None:
    program = (
        "import sys, lt_compat, lightning.pytorch.callbacks; print('torch' in sys.modules, 'libcst' in sys.modules)"
    )
    assert python("-c", program).stdout == "False False\n"


def test_names_resolve_after_the_import_and_in_processes_started_then(python: Run) -> None:
    program = f"import lt_compat, subprocess, sys; {WHOSE}; subprocess.run([sys.executable, '-c', {WHOSE!r}])"
    ran = python("-c", program)
    assert ran.stdout.splitlines() == ["lt_core.trainer"] * 2, ran.stderr


def test_the_environment_alone_brings_the_names(python: Run) -> None:
    assert python("-c", WHOSE, switch="on").stdout == "lt_core.trainer\n"
    assert "No module named 'lightning'" in python("-c", WHOSE).stderr


def test_real_lightning_keeps_its_names_and_one_warning_says_so(python: Run, real: Path) -> None:
    ran = python("-c", f"import lt_compat; {WHOSE}; import lt_compat", path=real)
    assert ran.stdout == "lightning.pytorch\n"
    assert ran.stderr.count("UserWarning") == 1
    assert str(real / "lightning/__init__.py") in ran.stderr
    assert "LT_COMPAT=force" in ran.stderr


def test_force_prefers_lt_to_a_real_lightning(python: Run, real: Path) -> None:
    ran = python("-c", f"import lt_compat; {WHOSE}", switch="force", path=real)
    assert ran.stdout == "lt_core.trainer\n"
    assert ran.stderr == ""


def test_force_after_a_real_lightning_was_imported_is_refused(python: Run, real: Path) -> None:
    program = "import os, lightning; os.environ['LT_COMPAT'] = 'force'; import lt_compat"
    ran = python("-c", program, path=real)
    assert "import lt_compat first" in ran.stderr
    assert "ImportError" in ran.stderr


def test_a_folder_that_is_only_called_lightning_does_not_count(python: Run, tmp_path: Path) -> None:
    (tmp_path / "lightning").mkdir()  # a folder of photographs, say
    assert python("-c", f"import lt_compat; {WHOSE}").stdout == "lt_core.trainer\n"


def test_off_leaves_everything_alone(python: Run) -> None:
    ran = python("-c", f"import lt_compat; {WHOSE}", switch="off")
    assert "No module named 'lightning'" in ran.stderr
    assert "Warning" not in ran.stderr
    assert "LT_COMPAT=off" in python("-m", "lt_compat", "run", "program.py", switch="off").stderr


def test_another_word_in_the_environment_is_refused(python: Run) -> None:
    ran = python("-c", "import lt_compat", switch="yes")
    assert "LT_COMPAT is 'yes'; accepted: `on`, `force`, `off`" in ran.stderr


def test_two_copies_of_lt_compat_are_refused_by_place(python: Run, tmp_path: Path) -> None:
    second = tmp_path / "second"
    shutil.copytree(SOURCE, second / "lt_compat")
    program = (
        "import sys, lt_compat\n"
        "for name in [name for name in sys.modules if name.startswith('lt_compat')]: del sys.modules[name]\n"
        f"sys.path.insert(0, {str(second)!r})\n"
        "import lt_compat\n"
    )
    ran = python("-c", program)
    assert "two copies of lt-compat" in ran.stderr
    assert str(SOURCE / "finder.py") in ran.stderr
    assert str(second) in ran.stderr


def test_thin_packages_stand_for_lt_without_any_import_of_ours(python: Run) -> None:
    program = (
        "import pytorch_lightning, lightning_fabric, lightning as L\n"
        "from lightning.pytorch.callbacks import Timer\n"
        "print(L.Trainer is pytorch_lightning.Trainer, L.Fabric is lightning_fabric.Fabric)\n"
        "print(L.__version__, Timer.__module__)"
    )
    ran = python("-c", program, path=STAND_INS)
    assert ran.stdout == "True True\n2.6.0 lt_callbacks.timer\n", ran.stderr


def test_thin_packages_of_another_version_are_refused(python: Run, tmp_path: Path) -> None:
    ran = python("-c", "import lt_compat; lt_compat.stand_in('lightning', '0.0.1')")
    assert f"lt-compat-names 0.0.1 and lt-compat {version('lt-compat')} don't belong together" in ran.stderr


def test_thin_packages_beside_a_real_lightning_are_refused(python: Run, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(STAND_INS, mixed)
    (mixed / "lightning-2.6.6.dist-info").mkdir()
    (mixed / "lightning-2.6.6.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: lightning\nVersion: 2.6.6\n"
    )
    ran = python("-c", "import lightning", path=mixed)
    assert "pip uninstall lt-compat-names lightning" in ran.stderr
