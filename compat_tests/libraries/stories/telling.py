"""What the stories of this folder share: their command line, and the losses that they leave behind.

A story trains a library's model on small data with the library's own commands, and later loads the checkpoint again.
It never names lt: the same file runs on a real Lightning, and through `python -m lt_compat run`.

    python forecasting.py train FOLDER
    python forecasting.py reload CHECKPOINT FOLDER
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Story = dict[str, Any]
"""What a command of a story tells: plain values that JSON can hold."""


def tell(train: Callable[[Path], Story], reload: Callable[[Path, Path], Story]) -> None:
    """Carry out the command that the command line names, and leave what it tells in ``FOLDER/story.json``."""
    command, *paths = sys.argv[1:]
    folder = Path(paths[-1])
    folder.mkdir(parents=True, exist_ok=True)
    told = train(folder) if command == "train" else reload(Path(paths[0]), folder)
    (folder / "story.json").write_text(json.dumps(told, indent=1))


def logged(folder: Path) -> dict[str, list[float]]:
    """Return every scalar in the event files below a folder, by tag, in the order in which it was logged."""
    # imported here: the logs are read after training, which doesn't need TensorBoard's reader
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    scalars: dict[str, list[float]] = {}
    for place in sorted({file.parent for file in folder.rglob("events.out.tfevents.*")}):
        reader = EventAccumulator(str(place))
        reader.Reload()
        for tag in reader.Tags()["scalars"]:
            scalars.setdefault(tag, []).extend(event.value for event in reader.Scalars(tag))
    return scalars
