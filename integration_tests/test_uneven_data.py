"""Ranks with different amounts of data train equally many steps; with padding, all samples count once."""

from pathlib import Path

import pytest
import torch
from uneven_ranks import COUNTS, Net, rows_of, train

from lt_interfaces.testing.ranks import run_in_processes


def by_hand(num_steps: int, accumulation: int) -> tuple[float, list[float]]:
    """Return the mean loss and weights of one process that has the samples of both ranks in each step."""
    net, losses = Net(), []
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for first in range(0, num_steps, accumulation):
        rows = torch.cat([rows_of(rank)[first : min(first + accumulation, num_steps)] for rank in range(2)])
        each = (net.layer(rows) - 2).square()
        losses += each.flatten().tolist()
        optimizer.zero_grad()
        torch.autograd.backward(each.mean())
        optimizer.step()
    return sum(losses) / len(losses), torch.nn.utils.parameters_to_vector(net.parameters()).tolist()


@pytest.mark.parametrize("is_sized", [True, False], ids=["sized", "unsized"])
@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("policy", ["stop", "pad"])
def test_ranks_train_as_one_process_with_their_samples(
    tmp_path: Path, policy: str, is_sized: bool, accumulation: int
) -> None:
    num_steps = max(COUNTS) if policy == "pad" else min(COUNTS)
    loss, weights = by_hand(num_steps, accumulation)
    for found in run_in_processes(train, str(tmp_path), policy, is_sized, accumulation):
        assert found[0] == num_steps
        assert found[1] == pytest.approx(loss, rel=1e-4)
        assert found[2] == pytest.approx(weights, rel=1e-4)


def test_a_batch_that_only_pads_counts_for_nothing_whatever_weight_its_loss_has(tmp_path: Path) -> None:
    _, weights = by_hand(max(COUNTS), accumulation=2)
    for found in run_in_processes(train, str(tmp_path), "pad", True, 2, 7.0):
        assert found[2] == pytest.approx(weights, rel=1e-4)
