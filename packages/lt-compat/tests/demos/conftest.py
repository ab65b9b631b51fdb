"""Lets the tests of this folder import `demo_losses`: pytest's import mode leaves their folder out of the path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
