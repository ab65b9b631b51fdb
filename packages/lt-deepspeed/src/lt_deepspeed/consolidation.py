"""One file out of the engine's own folder: fp32 weights and the optimizer's state, which every strategy loads.

Also a command: ``python -m lt_deepspeed.consolidation FOLDER FILE``.
"""

import argparse
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from lt_deepspeed.checkpoint_io import REST
from lt_deepspeed.engine_folder import whole_weights
from lt_deepspeed.installation import require_deepspeed
from lt_deepspeed.optimizer_shards import numbered_optimizer_state
from lt_interfaces.torch_file import load_torch_file, save_torch_file


def convert_zero_checkpoint_to_fp32_state_dict(
    checkpoint_dir: str | PathLike[str], output_file: str | PathLike[str], tag: str | None = None
) -> dict[str, Tensor]:
    """Gather the shards of a folder into one file, with weights in fp32; needs no processes and no GPU.

    The file is a checkpoint with all that the folder held: `load_from_checkpoint` takes it, and `fit(ckpt_path=...)`
    goes on from it, optimizer included, under any strategy. A folder that an engine wrote by itself, outside of a fit,
    gives weights alone.

    Args:
        checkpoint_dir: what `DeepSpeedCheckpointIO` or an engine's own ``save_checkpoint`` wrote.
        output_file: appears when it's complete.
        tag: which checkpoint in the folder; ``None``: the one that the folder calls its latest.

    Returns:
        The weights.

    Raises:
        FileNotFoundError: there's no such folder.
    """
    require_deepspeed("`convert_zero_checkpoint_to_fp32_state_dict`")
    folder = Path(checkpoint_dir)
    if not folder.is_dir():
        message = f"`checkpoint_dir`: there's no folder {str(folder)!r}."
        raise FileNotFoundError(message)
    weights = whole_weights(folder, tag)
    rest: dict[str, Any] = load_torch_file(folder / REST) if (folder / REST).is_file() else {}
    if "optimizer_states" in rest:
        rest["optimizer_states"] = [numbered_optimizer_state(one, folder, tag) for one in rest["optimizer_states"]]
    save_torch_file({**rest, "state_dict": weights}, output_file)
    return weights


def main() -> None:
    """Read the command line and write the file."""
    parser = argparse.ArgumentParser(prog="python -m lt_deepspeed.consolidation", description=__doc__)
    parser.add_argument("checkpoint_dir", help="the engine's folder")
    parser.add_argument("output_file", help="the file to write")
    parser.add_argument("--tag", help="which checkpoint in the folder; by default its latest")
    arguments = parser.parse_args()
    convert_zero_checkpoint_to_fp32_state_dict(arguments.checkpoint_dir, arguments.output_file, arguments.tag)


if __name__ == "__main__":
    main()
