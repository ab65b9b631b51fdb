"""Optimizer steps that are tried on several ranks, sharded or not, are taken back on all of them."""

import pytest
from trial_ranks import train

from lt_interfaces.testing.ranks import run_in_processes


@pytest.mark.parametrize(("strategy", "precision"), [("ddp", "16-mixed"), ("fsdp", "32-true")])
def test_training_after_a_trial_on_two_ranks_is_as_without_it_to_the_bit(strategy: str, precision: str) -> None:
    for rank in run_in_processes(train, strategy, precision, timeout_seconds=60):
        (nothing, plain_losses, plain_weights), (tried, losses, weights) = rank[False], rank[True]
        assert nothing == []
        assert len(tried) == 3
        assert tried[0] == losses[0]
        assert tried[2] > 100 * losses[2]
        assert losses == plain_losses
        assert weights == plain_weights
