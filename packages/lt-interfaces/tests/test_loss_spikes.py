"""What counts as a spike of the loss. All cases were observed from Lightning 2.6.6."""

import json
from math import inf, nan
from typing import Any

import pytest

from lt_interfaces.loss_spikes import LossSpikes, TrainingSpikeException


def spike_in(losses: list[float], **options: Any) -> int | None:
    """Return the first batch that's a spike."""
    spikes = LossSpikes(**options)
    for batch_idx, loss in enumerate(losses):
        if spikes.is_spike(loss, batch_idx):
            return batch_idx
        spikes.take(loss)
    return None


@pytest.mark.parametrize(
    ("losses", "options", "expected"),
    [
        ([1, 1, 1, 1], {}, None),
        ([1, 1, 1, 2.999], {}, None),
        ([1, 1, 1, 3.1], {}, 3),
        ([3, 2, 1, 1.9, 4.1], {}, None),
        ([3, 2, 1, 1.9, 6.1], {}, 4),
        ([1, 2, 1, 2, 4.4], {}, None),
        ([1, 2, 1, 2, 4.6], {}, 4),
        ([0.5, 1, 1], {}, None),
        ([0, 1], {}, 1),
        ([1, 3, 3.1], {}, 1),
        ([-1, -1, -1, 0.9], {}, None),
        ([-1, -1, -1, 1.1], {}, 3),
        ([1, 1, 1, 1.6], {"atol": 0.5, "rtol": None}, 3),
        ([1, 1, 1, 1.4], {"atol": 0.5, "rtol": None}, None),
        ([1, 1, 1, 1.6], {"atol": 0.5}, None),
        ([1, 1, 1, 5], {"atol": None, "rtol": None}, 3),
        ([1, 1, 1, -9], {"mode": "max"}, 3),
        ([1, 1, 1, 9], {"mode": "max"}, None),
        ([1, 100], {"warmup": 3}, None),
        ([1, 100], {"warmup": 0}, 1),
        ([100], {"warmup": 0}, None),
        ([5] * 3 + [1] * 8 + [3.5], {"window": 4}, 11),
        ([1, 1, 1, nan], {}, 3),
        ([nan, 1], {}, None),
        ([1, 1, 1, -inf], {}, 3),
        ([1, nan, 1, 1, 3.1], {"finite_only": False}, 4),
        ([1, 1, 1, inf], {"finite_only": False}, 3),
        ([1, 1, 1, -inf], {"finite_only": False}, None),
    ],
)
def test_spikes_are_worse_than_the_last_loss_and_far_from_the_mean(
    losses: list[float], options: dict[str, Any], expected: int | None
) -> None:
    assert spike_in(losses, **options) == expected


def test_it_goes_on_after_what_was_saved() -> None:
    before, after = LossSpikes(window=3), LossSpikes(window=3)
    for loss in (9.0, 1.0, 1.0, 1.0):
        before.take(loss)
    after.load_state_dict(json.loads(json.dumps(before.state_dict())))
    assert [after.is_spike(loss, 4) for loss in (2.9, 3.1)] == [False, True]


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="`mode` must be 'min' or 'max', not 'up'"):
        LossSpikes(mode="up")
    with pytest.raises(ValueError, match="`window` must be at least 1"):
        LossSpikes(window=0)


def test_the_error_names_its_batch() -> None:
    error = TrainingSpikeException(batch_idx=7)
    assert isinstance(error, RuntimeError)
    assert error.batch_idx == 7
    assert "batch 7" in str(error)
