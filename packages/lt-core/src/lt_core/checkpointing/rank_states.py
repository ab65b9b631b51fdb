"""What each rank has of its own in a checkpoint: written for all, and found again by a rank of the same or another job.

Under our own key, everything is rank 0's, but for two lists: ``rng``, the random state of every rank, and
``other_ranks``, what the ranks from 1 on have besides. One process writes no ``other_ranks``.
"""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

import torch

from lt_core.logging.merging import merged_results
from lt_fabric.data.shared_order import DataShare, data_share
from lt_fabric.gathering import gather_objects
from lt_interfaces.rng import rng_state_of_rank
from lt_interfaces.strategy import Strategy

_OF_A_RANK: Final = ("data", "results", "metrics", "callback_metrics", "validation")
_OTHERS: Final = "other_ranks"
_SHARES: Final = "shares"
"""By rank, which share of the data it has; only where several ranks have the same one."""


def of_all_ranks(strategy: Strategy, state: dict[str, Any]) -> dict[str, Any]:
    """Return the state that's written, from this rank's; collective."""
    if strategy.world_size == 1:
        return {**state, "rng": [state["rng"]]}
    names: list[str] = [name for name in _OF_A_RANK if name in state]
    if "window" in state and _differ(strategy, state["window"]["gradients"]):
        names.append("window")
    ranks = gather_objects(strategy, {name: state[name] for name in ("rng", *names)})
    others = [{name: rank[name] for name in names} for rank in ranks[1:]]
    written = {**state, **ranks[0], "rng": [rank["rng"] for rank in ranks], _OTHERS: others}
    if data_share(strategy).count < strategy.world_size:
        written[_SHARES] = gather_objects(strategy, data_share(strategy).index)
    return written


class SavedRanks:
    """What a checkpoint has of the ranks that saved it, looked at by a rank of this job.

    Among as many ranks each takes its own. Among more or fewer, what belongs to all is put together.

    Args:
        saved: what's under our own key.
        rank: this process's.
        world_size: processes of this job.
        share: of the data, that this process has; by default each process has its own.
    """

    def __init__(self, saved: Mapping[str, Any], *, rank: int, world_size: int, share: DataShare | None = None) -> None:
        self._ranks: Final[list[Mapping[str, Any]]] = [saved, *saved.get(_OTHERS, ())]
        self._shares: Final[list[int]] = saved.get(_SHARES) or list(range(len(self._ranks)))
        share = share or DataShare(rank, world_size)
        self.rank: Final = rank
        self.share: Final = share.index
        """Which share of the data this rank has."""
        self._rng: Final = saved["rng"]
        self.is_same_number: Final = len(self._ranks) == world_size and len(set(self._shares)) == share.count
        """Whether this job has as many ranks, and shares the data out to them in the same way."""
        self.own: Final = self._ranks[rank] if rank < len(self._ranks) else saved
        """This rank's state; rank 0's for a rank that has none."""
        self.are_fewer: Final = world_size < len(self._ranks)
        """Whether this job has fewer ranks, so that some of the states are nobody's."""

    def all(self, name: str) -> list[Any]:
        """Return one thing of every share of the data: what the first rank had that worked on it."""
        return [self._ranks[self._shares.index(share)][name] for share in sorted(set(self._shares))]

    @property
    def rng(self) -> dict[str, Any]:
        """The random state that this rank goes on with."""
        return rng_state_of_rank(self._rng, self.rank)

    @property
    def window(self) -> Mapping[str, Any]:
        """The accumulation window.

        Raises:
            ValueError: it's open, or ranks accumulate gradients of their own, and there's another number of ranks.
        """
        saved = self._ranks[0]["window"]
        is_open = saved["window"] is not None or any("window" in rank for rank in self._ranks[1:])
        if is_open and not self.is_same_number:
            message = (
                "The checkpoint was saved while gradients were being accumulated, so it can be resumed only with as"
                f" many processes as before: {len(self._ranks)}. Use that number, or a checkpoint that was saved right"
                " after an optimizer step."
            )
            raise ValueError(message)
        window: Mapping[str, Any] = self.own.get("window", saved)
        return window

    @property
    def results(self) -> Mapping[str, Any]:
        """The logged values of the epoch."""
        if self.is_same_number:
            own: Mapping[str, Any] = self.own["results"]
            return own
        return merged_results(self.all("results"), rank=self.share)

    @property
    def is_validation_interrupted(self) -> bool:
        """Whether the checkpoint was saved in the middle of a validation."""
        return self.own["validation"]["interrupted"] is not None

    @property
    def validation(self) -> Mapping[str, Any]:
        """The validation; one that's begun again has the random state that it began with, or one of this rank's own."""
        state: Mapping[str, Any] = self.own["validation"]
        if self.is_same_number or not self.is_validation_interrupted:
            return state
        began = {name: value for name, value in state["interrupted"].items() if name != "metrics"}
        rng = rng_state_of_rank([one["interrupted"]["rng"] for one in self.all("validation")], self.rank)
        return {**state, "interrupted": {**began, "rng": rng}}

    def all_metrics(self) -> list[Mapping[str, Any]]:
        """Return what metric objects held on every rank; when an interrupted validation began, if there's one."""
        if self.is_validation_interrupted:
            return [state["interrupted"].get("metrics", {}) for state in self.all("validation")]
        return self.all("metrics")


def _differ(strategy: Strategy, gradients: Mapping[str, torch.Tensor]) -> bool:
    """Say whether ranks have other gradients than rank 0: they accumulate by themselves. Collective."""
    digest = blake2b()
    for name, gradient in gradients.items():
        digest.update(name.encode())
        digest.update(gradient.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return len(set(gather_objects(strategy, digest.hexdigest()))) > 1
