import sys
from pathlib import Path

from programs import run_program

SHOW = """
import sys
from lt_strategies.launchers.rerun import rerun_of_program
{before}
sys.stdout.write(repr(rerun_of_program(1).command))
"""


def command_of(tmp_path: Path, *arguments: str, before: str = "", name: str = "train.py") -> list[str]:
    (tmp_path / name).write_text(SHOW.format(before=before))
    ended = run_program(*arguments, PYTHONPATH=str(tmp_path), PYTHONDONTWRITEBYTECODE="")
    assert ended.exit_code == 0, ended.errors
    command: list[str] = eval(ended.output)
    return command


def test_script_is_run_again_with_its_arguments(tmp_path: Path) -> None:
    script = str(tmp_path / "train.py")
    assert command_of(tmp_path, script, "--epochs", "3") == [sys.executable, script, "--epochs", "3"]


def test_interpreter_keeps_its_options(tmp_path: Path) -> None:
    script = str(tmp_path / "train.py")
    assert command_of(tmp_path, "-W", "ignore", script) == [sys.executable, "-Wignore", script]


def test_script_is_found_after_a_change_of_folder(tmp_path: Path) -> None:
    script = str(tmp_path / "train.py")
    command = command_of(tmp_path, script, before="import os; os.chdir('/'); sys.argv[0] = 'train.py'")
    assert command == [sys.executable, script]


def test_module_is_run_again_as_a_module(tmp_path: Path) -> None:
    assert command_of(tmp_path, "-m", "train", "3") == [sys.executable, "-m", "train", "3"]


def test_package_is_run_again_as_a_package(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    assert command_of(tmp_path, "-m", "training", name="training/__main__.py") == [sys.executable, "-m", "training"]


def test_without_a_script_the_way_out_is_named() -> None:
    ended = run_program("-c", SHOW.format(before=""))
    assert ended.exit_code == 1
    assert "`sys.argv[0]` is '-c'" in ended.errors
    assert "`strategy='ddp_notebook'`" in ended.errors
