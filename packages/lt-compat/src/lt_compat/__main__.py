"""``python -m lt_compat``: run a program, check a code base, or move it to lt's own names."""

import sys

from lt_compat.command_line import main

sys.exit(main(sys.argv[1:]))
