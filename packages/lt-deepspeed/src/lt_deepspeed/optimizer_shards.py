"""The optimizer's state in the shards of an engine's folder, put together without processes."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from lt_deepspeed.engine_folder import without_pickle
from lt_deepspeed.installation import deepspeed

_LATEST: Final = "latest"
"""The file in which DeepSpeed says which folder within is the newest."""


def numbered_optimizer_state(settings: Mapping[str, Any], folder: Path, tag: str | None = None) -> dict[str, Any]:
    """Return an optimizer's whole state as torch has it, its parameters by number.

    Args:
        settings: what the strategy saved beside the engine: groups with their parameters' names, without state.
        folder: of the engine.
        tag: which checkpoint in the folder; ``None``: the one that the folder calls its latest.
    """
    names = [name for group in settings["param_groups"] for name in group["params"]]
    numbers = {name: number for number, name in enumerate(names)}
    groups = [{**group, "params": [numbers[name] for name in group["params"]]} for group in settings["param_groups"]]
    state = {numbers[name]: held for name, held in _held_by_name(folder, tag)}
    return {**settings, "state": dict(sorted(state.items())), "param_groups": groups}


def _held_by_name(folder: Path, tag: str | None) -> Iterator[tuple[str, dict[str, Tensor]]]:
    files = deepspeed("utils.zero_to_fp32")
    shards = str(folder / (tag or (folder / _LATEST).read_text().strip()))
    with without_pickle():
        ranks = [_read(file)["optimizer_state_dict"] for file in files.get_optim_files(shards)]
        groups = _read(files.get_model_state_files(shards)[0])["param_shapes"]
    is_cut_by_parameter = ranks[0]["zero_stage"] >= 3
    key = "optimizer_state_dict" if is_cut_by_parameter else "base_optimizer_state"
    for number, shapes in enumerate(groups):
        of_ranks = [rank[key]["state"].get(number, {}) for rank in ranks]
        if not of_ranks[0]:  # before the first step
            continue
        held: dict[str, dict[str, Tensor]] = {name: {} for name in shapes}
        for kept, value in of_ranks[0].items():
            if not isinstance(value, Tensor) or value.ndim == 0:  # such as the number of steps
                whole = dict.fromkeys(shapes, torch.as_tensor(value, dtype=torch.float32))
            elif is_cut_by_parameter:
                whole = _joined(shapes, [one[kept] for one in of_ranks])
            else:
                paddings = ranks[0].get("param_alignment_paddings")
                whole = _cut(shapes, torch.cat([one[kept] for one in of_ranks]), paddings and paddings[number])
            for name, part in whole.items():
                held[name][kept] = part.clone()
        yield from held.items()


def _read(file: str) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(file, map_location="cpu", mmap=True, weights_only=True)
    return content


def _cut(shapes: Mapping[str, torch.Size], flat: Tensor, paddings: Sequence[int] | None) -> dict[str, Tensor]:
    """Return each parameter's part of a group that's flat over all ranks, as stages 1 and 2 have it."""
    parts, start = {}, 0
    for (name, shape), padding in zip(shapes.items(), paddings or [0] * len(shapes), strict=True):
        parts[name] = flat[start : start + shape.numel()].view(shape)
        start += shape.numel() + padding
    return parts


def _joined(shapes: Mapping[str, torch.Size], of_ranks: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return each parameter joined of its parts on all ranks, which have one size, as stage 3 has it."""
    joined, start = {}, 0
    for name, shape in shapes.items():
        size = -(-shape.numel() // len(of_ranks))
        parts = torch.cat([flat[start : start + size] for flat in of_ranks])
        joined[name] = parts[: shape.numel()].view(shape)
        start += size
    return joined
