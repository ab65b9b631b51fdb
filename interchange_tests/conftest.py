"""Lets the tests of this folder import the modules beside them: pytest's import mode leaves it out of the path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
