"""Agreement: what all ranks, or any of them, decided."""

import torch

from lt_interfaces.strategy import Strategy


def agree(strategy: Strategy, decision: bool, *, all_ranks: bool) -> bool:
    """Return whether all ranks (or any) decided so. Collective with several ranks."""
    if strategy.world_size == 1:
        return decision
    vote = torch.tensor(float(decision), device=strategy.root_device)
    return bool(strategy.reduce(vote, op="min" if all_ranks else "max").item())
