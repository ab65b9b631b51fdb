import sys
from pathlib import Path

# What runs in other processes lies in modules beside the tests; pytest's importlib mode leaves finding them to us.
sys.path.insert(0, str(Path(__file__).parent))
