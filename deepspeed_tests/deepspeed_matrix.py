"""Checkpoints saved under DeepSpeed's stages and gone on from under other layouts, and the other way round."""

from itertools import product
from pathlib import Path
from typing import Final

from checkpoint_matrix import SAVED_AT, STEPS, Continued, difference, losses_of
from sharding_ranks import Run, file_of

from lt_deepspeed import convert_zero_checkpoint_to_fp32_state_dict

STAGES: Final = ("deepspeed_stage_1", "deepspeed_stage_2", "deepspeed_stage_3")
FOLDERS: Final = tuple(f"{stage}, own folder" for stage in STAGES)
"""The stages, saving what their engine writes, of which the package's tool makes a file."""
OTHERS: Final = ("single", "ddp", "fsdp", "fsdp, sharded state", "tensor")
PAIRS: Final = [
    *product((*STAGES, *FOLDERS), ("single", "ddp", "fsdp", *STAGES)),
    *product(OTHERS, STAGES),
]
"""What's saved under, and gone on with under."""


def matrix(folder: str) -> tuple[list[Continued], dict[str, float]]:
    """Save under each layout and go on under the others. Starting takes time, so there are two jobs of two ranks.

    Returns:
        What became of each pair; and how much each stage differs, going on by itself, from one process that does so.
    """
    layouts = (*STAGES, *FOLDERS, *OTHERS)
    wholes = losses_of([Run(folder, layout, steps=STEPS, save_at=(SAVED_AT,)) for layout in layouts])
    whole = {layout: losses[SAVED_AT:] for layout, losses in zip(layouts, wholes, strict=True)}
    for layout in FOLDERS:
        convert_zero_checkpoint_to_fp32_state_dict(file_of(Run(folder, layout), SAVED_AT), _file(folder, layout))
    runs = [Run(folder, loaded, steps=STEPS, resume=_file(folder, saved)) for saved, loaded in PAIRS]
    found = [
        Continued(saved, loaded, difference(losses, whole[saved]))
        for (saved, loaded), losses in zip(PAIRS, losses_of(runs), strict=True)
    ]
    return found, {stage: difference(whole[stage], whole["single"]) for stage in STAGES}


def _file(folder: str, layout: str) -> str:
    """Return what's gone on from: what was saved, or the file made of it."""
    if layout in FOLDERS:
        return str(Path(folder, f"{layout}, consolidated.ckpt"))
    return file_of(Run(folder, layout), SAVED_AT)
