import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # stand-ins, and what ranks run, lie in modules beside the tests
