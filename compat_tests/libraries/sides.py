"""Runs the stories: on lt through lt-compat in this environment, and on a real Lightning in another one."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

STORIES = Path(__file__).parent / "stories"
OTHER_PYTHON = "LIGHTNING_PYTHON"
"""The environment variable that names the Python of an environment with the same libraries and a real Lightning."""
SECONDS = 240
"""Far more than a story takes."""

Story = dict[str, Any]


@dataclass(frozen=True)
class Side:
    """What runs stories: a name for it, and the words of a command that a script is appended to."""

    name: str
    command: tuple[str, ...]

    def train(self, story: str, folder: Path) -> Story:
        """Tell a story from the start, and return what it tells."""
        return self._tell(story, ("train", folder), folder)

    def reload(self, story: str, checkpoint: str, folder: Path) -> Story:
        """Load a checkpoint that either side has left, and return what the story tells of it."""
        return self._tell(story, ("reload", checkpoint, folder), folder)

    def _tell(self, story: str, words: tuple[str | Path, ...], folder: Path) -> Story:
        folder.mkdir(parents=True)
        command = [*self.command, str(STORIES / f"{story}.py"), *map(str, words)]
        # What the tests' own process is told of lt-compat isn't meant for these.
        kept = {name: value for name, value in os.environ.items() if name not in {"LT_COMPAT", "LT_CHECKPOINT_OBJECTS"}}
        process = subprocess.run(
            command,
            cwd=folder,  # libraries write some logs there
            env=kept | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        if process.returncode:
            message = f"{' '.join(command)} ended with {process.returncode}:\n{process.stderr[-6000:]}"
            raise RuntimeError(message)
        told: Story = json.loads((folder / "story.json").read_text())
        return told


LT = Side("lt", (sys.executable, "-m", "lt_compat", "run"))


@cache
def lightning() -> Side | None:
    """Return the side with a real Lightning; ``None`` where the environment doesn't say where that is."""
    python = os.environ.get(OTHER_PYTHON)
    return Side("Lightning", (python,)) if python else None
