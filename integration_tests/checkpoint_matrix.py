"""Checkpoints saved under each layout and gone on from under each other one, in a module that ranks import by name."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sharding_ranks import RANKS, Outcome, Run, file_of, mean_losses, train

from lt_checkpoint_io import consolidate_checkpoint
from lt_interfaces.testing.ranks import run_in_processes

LAYOUTS: Final = ("single", "ddp", "fsdp", "fsdp, sharded state", "tensor", "shard x tensor")
SHARDED: Final = ("fsdp, sharded state", "tensor", "shard x tensor")
"""Those that save folders of shards."""
SAVED_AT: Final = 5
STEPS: Final = 10


@dataclass(frozen=True)
class Continued:
    """What became of a run that was saved under one layout and gone on with under another."""

    saved: str
    loaded: str
    difference: float
    """The largest between its losses and those of the first run, which went on by itself."""


def matrix(folder: str, layouts: Sequence[str] = LAYOUTS) -> list[Continued]:
    """Save under each layout and go on under each. Starting takes time, so jobs of equally many processes are one."""
    wholes = losses_of([Run(folder, layout, steps=STEPS, save_at=(SAVED_AT,)) for layout in layouts])
    pairs = [(saved, loaded) for loaded in layouts for saved in layouts]
    runs = [Run(folder, loaded, steps=STEPS, resume=file_of(Run(folder, saved), SAVED_AT)) for saved, loaded in pairs]
    expected = dict(zip(layouts, wholes, strict=True))
    return [
        Continued(saved, loaded, difference(losses, expected[saved][SAVED_AT:]))
        for (saved, loaded), losses in zip(pairs, losses_of(runs), strict=True)
    ]


def says_the_same_consolidated(folder: str, layout: str) -> bool:
    """Say whether one process goes on from a file made of the shards in a folder of `matrix` as from the folder."""
    shards = file_of(Run(folder, layout), SAVED_AT)
    runs = [Run(folder, steps=STEPS, resume=str(saved)) for saved in (shards, consolidate_checkpoint(shards))]
    by_shards, by_file = losses_of(runs)
    return by_shards == by_file


def table(found: Sequence[Continued]) -> str:
    """Return the differences as a Markdown table, the layout that saved in rows."""
    columns = list(dict.fromkeys(one.loaded for one in found))
    lines = ["| saved under, gone on with under | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
    by_pair = {(one.saved, one.loaded): one.difference for one in found}
    for saved in dict.fromkeys(one.saved for one in found):
        lines.append(f"| {saved} | " + " | ".join(_cell(by_pair.get((saved, loaded))) for loaded in columns) + " |")
    return "\n".join(lines)


def _cell(difference: float | None) -> str:
    """Return what's shown of a difference; nothing for a pair that isn't tried."""
    return "" if difference is None else f"{difference:.1e}" if difference else "0"


def losses_of(runs: Sequence[Run]) -> list[list[float]]:
    """Return the losses of each run over all its ranks."""
    losses: dict[int, list[float]] = {}
    for num_ranks in sorted({RANKS.get(run.layout, 2) for run in runs}):
        own = [index for index, run in enumerate(runs) if RANKS.get(run.layout, 2) == num_ranks]
        ranks = _trained([runs[index] for index in own], num_ranks)
        for index, of_ranks in zip(own, zip(*ranks, strict=True), strict=True):
            losses[index] = mean_losses(of_ranks)
    return [losses[index] for index in range(len(runs))]


def _trained(runs: Sequence[Run], num_ranks: int) -> list[list[Outcome]]:
    if num_ranks == 1:
        return [train(runs)]
    return run_in_processes(train, runs, world_size=num_ranks, timeout_seconds=250)


def difference(losses: Sequence[float], expected: Sequence[float]) -> float:
    """Return the largest difference between losses of two runs."""
    return max(abs(one - other) for one, other in zip(losses, expected, strict=True))
