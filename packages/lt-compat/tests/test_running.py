from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

Run = Callable[..., CompletedProcess[str]]

PROGRAM = """
import sys
import lightning as L
from beside import word
if __name__ == "__main__":
    print(L.Trainer.__module__, sys.argv[1:], word, L.__version__)
"""


def test_a_script_runs_with_its_arguments_and_its_neighbours(python: Run, tmp_path: Path) -> None:
    folder = tmp_path / "somewhere"
    folder.mkdir()
    (folder / "program.py").write_text(PROGRAM)
    (folder / "beside.py").write_text("word = 'found'")
    ran = python("-m", "lt_compat", "run", folder / "program.py", "--epochs", "3", "-m", "x")
    assert ran.stdout == "lt_core.trainer ['--epochs', '3', '-m', 'x'] found 2.6.0\n", ran.stderr


def test_a_module_runs_as_with_python_m(python: Run, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "beside.py").write_text("word = 'found'")
    ran = python("-m", "lt_compat", "run", "-m", "program", "--epochs", "3")
    assert ran.stdout == "lt_core.trainer ['--epochs', '3'] found 2.6.0\n", ran.stderr


def test_exit_status_and_traceback_are_the_programs(python: Run, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import sys\nsys.exit(7)\n")
    assert python("-m", "lt_compat", "run", "program.py").returncode == 7
    (tmp_path / "program.py").write_text("def fails():\n    1 / 0\nfails()\n")
    ran = python("-m", "lt_compat", "run", "program.py")
    assert ran.returncode == 1
    assert "ZeroDivisionError" in ran.stderr


def test_a_script_that_does_not_exist_is_named(python: Run) -> None:
    ran = python("-m", "lt_compat", "run", "nowhere.py")
    assert ran.returncode == 1
    assert "there's no script 'nowhere.py'" in ran.stderr


def test_a_real_lightning_is_not_run_by_mistake(python: Run, tmp_path: Path) -> None:
    (tmp_path / "lightning").mkdir()
    (tmp_path / "lightning/__init__.py").write_text("__version__ = '2.6.6'\n")
    (tmp_path / "program.py").write_text("import lightning; print(lightning.__version__)")
    refused = python("-m", "lt_compat", "run", "program.py", path=tmp_path)
    assert refused.returncode == 1
    assert "LT_COMPAT=force" in refused.stderr
    assert refused.stderr.count("leaves Lightning's names alone") == 1
    forced = python("-m", "lt_compat", "run", "program.py", path=tmp_path, switch="force")
    assert forced.stdout == "2.6.0\n", forced.stderr
