"""A file that Lightning wrote in the middle of an epoch: we go on with the right samples, and say what's missing."""

from pathlib import Path

import pytest
from scripts import Script, continued, differences, interrupted, uninterrupted
from sides import NAMES, OURS, lightning
from twins import ManualNet, Net, StepwiseNet

SCRIPTS = {
    "automatic": Script(Net, checkpoint={"save_top_k": 0}),
    "manual": Script(ManualNet, checkpoint={"save_top_k": 0}),
    "accumulating": Script(StepwiseNet, {"accumulate_grad_batches": 2}, {"save_top_k": 0}),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("script", SCRIPTS)
def test_training_goes_on_at_the_next_batch_with_a_warning(name: str, script: str, tmp_path: Path) -> None:
    theirs, root = lightning(name), tmp_path / "run"
    whole = uninterrupted(theirs, SCRIPTS[script], root)
    interrupted(theirs, SCRIPTS[script], root, "after_fit")
    with pytest.warns(UserWarning, match="in the middle of an epoch, after 2 of its batches.*random generators"):
        gone_on = continued(OURS, SCRIPTS[script], root / "batch_1.ckpt", root)
    assert differences(whole.seen, gone_on.seen) == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("script", SCRIPTS)
def test_last_batch_of_an_epoch_is_followed_by_its_validation(name: str, script: str, tmp_path: Path) -> None:
    theirs, root = lightning(name), tmp_path / "run"
    whole = uninterrupted(theirs, SCRIPTS[script], root)
    interrupted(theirs, SCRIPTS[script], root, "after_fit")
    gone_on = continued(OURS, SCRIPTS[script], root / "batch_3.ckpt", root)
    assert differences(whole.seen, gone_on.seen) == []
