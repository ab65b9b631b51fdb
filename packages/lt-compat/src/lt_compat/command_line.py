"""The commands of ``python -m lt_compat``."""

import argparse
from collections.abc import Sequence

from lt_compat.running import run


def main(words: Sequence[str]) -> int:
    """Carry out one command and return the exit status."""
    arguments = _parser().parse_args(words)
    run(arguments.program, arguments.arguments, as_module=arguments.module)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lt_compat", description="Code written for Lightning, on lt.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    running = commands.add_parser("run", help="run a script with Lightning's names resolved to lt's")
    running.add_argument("-m", dest="module", action="store_true", help="PROGRAM is a module, as with `python -m`")
    running.add_argument("program", metavar="PROGRAM", help="a script, or with -m a module")
    running.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="the program's own arguments")
    return parser
