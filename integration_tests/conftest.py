import sys
from pathlib import Path

# What runs in other processes lies in modules beside the tests; pytest's importlib mode leaves finding them to us.
sys.path.insert(0, str(Path(__file__).parent))

collect_ignore = ["bad_job.py", "lightning_script.py"]
"""A script without a main guard, which an import for its docstrings would run, and one that knows Lightning's names."""
