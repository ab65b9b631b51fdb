"""A run that was begun with one framework and goes on with the other ends as it would have without a break.

Weights, states of optimizers, schedulers and callbacks, counters and metrics are compared, bit by bit.
"""

from pathlib import Path

import pytest
from scripts import POINTS, Script, continued, differences, interrupted, uninterrupted
from sides import NAMES, OURS, Side, lightning
from twins import ManualNet, Net, PlateauNet, StepwiseNet

SCRIPTS = {
    "epochwise": Script(Net),
    "stepwise": Script(StepwiseNet),
    "plateau": Script(PlateauNet),
    "manual": Script(ManualNet),
    "accumulating": Script(StepwiseNet, trainer={"accumulate_grad_batches": 2}),
    "clipping": Script(Net, trainer={"gradient_clip_val": 0.1}),
    "max_steps": Script(Net, trainer={"max_steps": 14}),
    "keeping_two": Script(Net, checkpoint={"save_top_k": 2}),
    "kept_after_validation": Script(Net, checkpoint={"save_on_train_epoch_end": False}),
    "validated_rarely": Script(Net, trainer={"check_val_every_n_epoch": 2}),
    "validated_often": Script(StepwiseNet, trainer={"val_check_interval": 0.5}),
}
CASES = [(name, point) for name in SCRIPTS for point in POINTS]

# From these of its own files Lightning goes on otherwise than without a break, or not at all.
LIGHTNING_LOSES = {
    # the step of a scheduler that watches a metric, when saved before it
    ("plateau", "kept"),
    # the metrics of validation, when saved after it
    ("kept_after_validation", "kept"),
    # the fact that the epoch is over, where `max_steps` is set
    ("max_steps", "kept"),
}
# Releases up to 2.4, at least, lose more.
EARLIER_LIGHTNING_LOSES = {
    *LIGHTNING_LOSES,
    ("max_steps", "after_fit"),
    # the fact that schedulers were stepped, when saved after validation
    ("validated_rarely", "kept"),
    ("validated_often", "kept"),
}
LOST = dict(zip(NAMES, (LIGHTNING_LOSES, EARLIER_LIGHTNING_LOSES), strict=True))
LATE = ("plateau", "kept")
"""The one case where what a file of Lightning lacks can't be had by validating once more."""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("script", "point"), [case for case in CASES if case != LATE])
def test_run_of_lightning_ends_with_us_as_without_a_break(name: str, script: str, point: str, tmp_path: Path) -> None:
    theirs, root = lightning(name), tmp_path / "run"
    whole = uninterrupted(theirs, SCRIPTS[script], root)
    path = interrupted(theirs, SCRIPTS[script], root, point)
    assert differences(whole.seen, continued(OURS, SCRIPTS[script], path, root).seen) == []


@pytest.mark.parametrize("name", NAMES)
def test_plateau_scheduler_goes_on_with_us_as_with_lightning(name: str, tmp_path: Path) -> None:
    theirs, (script, point) = lightning(name), LATE
    runs = [_resumed(theirs, reader, script, point, tmp_path) for reader in (theirs, OURS)]
    assert differences(*runs) == []


@pytest.mark.parametrize(
    ("name", "script", "point"), [(name, *case) for name in NAMES for case in CASES if case not in LOST[name]]
)
def test_our_run_ends_with_lightning_as_without_a_break(name: str, script: str, point: str, tmp_path: Path) -> None:
    root = tmp_path / "run"
    whole = uninterrupted(OURS, SCRIPTS[script], root)
    path = interrupted(OURS, SCRIPTS[script], root, point)
    assert differences(whole.seen, continued(lightning(name), SCRIPTS[script], path, root).seen) == []


@pytest.mark.parametrize(("script", "point"), sorted(LIGHTNING_LOSES))
def test_lightning_goes_on_from_our_file_as_from_its_own(script: str, point: str, tmp_path: Path) -> None:
    theirs = lightning(NAMES[0])
    runs = [_resumed(writer, theirs, script, point, tmp_path) for writer in (theirs, OURS)]
    assert differences(*runs) == []


def _resumed(writer: Side, reader: Side, script: str, point: str, folder: Path) -> object:
    """Return what's seen of a run that goes on, or how it failed."""
    root = folder / "run"
    path = interrupted(writer, SCRIPTS[script], root, point)
    try:
        seen: object = continued(reader, SCRIPTS[script], path, root).seen
    except RuntimeError as error:
        seen = str(error)
    root.rename(folder / f"{writer}-{reader}")
    return seen
