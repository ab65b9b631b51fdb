"""The commands of ``python -m lt_compat``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lt_compat.running import run


def main(words: Sequence[str]) -> int:
    """Carry out one command and return the exit status.

    ``check`` returns 1 if lt lacks something that the code needs, else 0; a wrong path ends with status 2.
    """
    parser = _parser()
    arguments = parser.parse_args(words)
    try:
        status: int = arguments.command(arguments)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    return status


def _run(arguments: argparse.Namespace) -> int:
    run(arguments.program, arguments.arguments, as_module=arguments.module)
    return 0


def _check(arguments: argparse.Namespace) -> int:
    # libcst takes a while to import, and running a program doesn't need it
    from lt_compat.checking.findings import Verdict, check_file
    from lt_compat.checking.report import as_json, as_text
    from lt_compat.reading.sources import files_in, with_progress

    files = [check_file(file) for file in with_progress(list(files_in(arguments.paths)))]
    shown = [] if arguments.quiet else [verdict for verdict in Verdict if verdict in (arguments.only or Verdict)]
    report = [as_json(files, shown=shown)] if arguments.format == "json" else as_text(files, shown=shown)
    sys.stdout.writelines(f"{line}\n" for line in report)
    return int(any(finding.stops_the_program for file in files for finding in file.findings))


def _migrate(arguments: argparse.Namespace) -> int:
    # libcst takes a while to import, and running a program doesn't need it
    from lt_compat.migration.files import migrate_file
    from lt_compat.migration.report import as_diff, summary
    from lt_compat.reading.sources import files_in, with_progress

    files = [migrate_file(file) for file in with_progress(list(files_in(arguments.paths)))]
    if not arguments.write:
        sys.stdout.writelines(line for file in files for line in as_diff(file))
    for file in files:
        if arguments.write and file.is_changed:
            file.file.write_bytes(file.after)
    sys.stdout.writelines(f"{line}\n" for line in summary(files, written=arguments.write))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lt_compat", description="Code written for Lightning, on lt.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    running = commands.add_parser("run", help="run a script with Lightning's names resolved to lt's")
    running.set_defaults(command=_run)
    running.add_argument("-m", dest="module", action="store_true", help="PROGRAM is a module, as with `python -m`")
    running.add_argument("program", metavar="PROGRAM", help="a script, or with -m a module")
    running.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="the program's own arguments")

    checking = commands.add_parser("check", help="say which of Lightning's names code uses, and whether lt has them")
    checking.set_defaults(command=_check)
    checking.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a file, or a folder with all below it")
    checking.add_argument("--format", choices=["text", "json"], default="text")
    checking.add_argument("--quiet", action="store_true", help="only the table at the end")
    checking.add_argument(
        "--only", action="append", choices=["same", "differs", "missing", "private"], help="only these; may be repeated"
    )

    migrating = commands.add_parser("migrate", help="rewrite Lightning's names to lt's; without --write, show the diff")
    migrating.set_defaults(command=_migrate)
    migrating.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a file, or a folder with all below it")
    migrating.add_argument("--write", action="store_true", help="change the files")
    return parser
