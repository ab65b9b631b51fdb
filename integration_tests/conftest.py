import sys
from pathlib import Path

# What runs in other processes lies in modules beside the tests; pytest's importlib mode leaves finding them to us.
sys.path.insert(0, str(Path(__file__).parent))

collect_ignore = ["bad_job.py"]
"""A script without a main guard: importing it for its docstrings would run it."""
