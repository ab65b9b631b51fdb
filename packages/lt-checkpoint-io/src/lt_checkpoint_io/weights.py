"""A model's weights as safetensors: what other tools read, and nothing that could run code."""

import json
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from lt_checkpoint_io.opened_checkpoint import OpenedCheckpoint, open_checkpoint
from lt_checkpoint_io.safetensors_format import read_header, write_safetensors
from lt_checkpoint_io.stored_tensor import Progress, StoredTensor
from lt_interfaces.commit import commit_file, commit_folder

INDEX_NAME: Final = "model.safetensors.index.json"
"""Where a folder of several files says which tensor is in which, as on the Hugging Face hub."""


def export_safetensors(
    checkpoint: str | PathLike[str],
    target: str | PathLike[str],
    *,
    prefix: str = "",
    max_shard_bytes: int | None = None,
    progress: Progress = lambda done, total: None,
) -> Path:
    """Write the weights (``state_dict``) of a checkpoint as safetensors and return where they are.

    One tensor at a time is in memory. Tied weights are written once; `import_safetensors` ties them again.

    Args:
        checkpoint: a file or the folder of a sharded checkpoint.
        target: the file; with ``max_shard_bytes`` a folder. What is there is replaced.
        prefix: only the weights whose names begin with it, without it: ``"model."`` for what `self.model` holds.
        max_shard_bytes: cut into files of at most so many bytes of values, with an index as Hugging Face's tools
            read it; a tensor that is larger gets a file of its own.
        progress: is told how many bytes are written, and how many there are in a file.

    Raises:
        ValueError: no weights, none with the prefix, or a dtype that safetensors doesn't have.

    >>> import tempfile, torch
    >>> folder = tempfile.mkdtemp()
    >>> torch.save({"state_dict": {"model.weight": torch.ones(2)}, "global_step": 7}, f"{folder}/last.ckpt")
    >>> path = export_safetensors(f"{folder}/last.ckpt", f"{folder}/model.safetensors", prefix="model.")
    >>> import_safetensors(path)
    {'weight': tensor([1., 1.])}
    """
    opened = open_checkpoint(checkpoint)
    weights = _with_prefix(opened, prefix)
    metadata = _metadata(opened)
    if max_shard_bytes is None:
        with commit_file(target) as file:
            write_safetensors(file, weights, metadata=metadata, progress=progress)
        return Path(target)
    shards = list(_cut(weights, max_shard_bytes))
    names = [f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    with commit_folder(target) as folder:
        for name, shard in zip(names, shards, strict=True):
            with (folder / name).open("wb") as file:
                write_safetensors(file, shard, metadata=metadata, progress=progress)
        places = {weight: name for name, shard in zip(names, shards, strict=True) for weight in shard}
        size = sum({tensor.key: tensor.nbytes for tensor in weights.values()}.values())
        index = {"metadata": {"total_size": size}, "weight_map": places}
        (folder / INDEX_NAME).write_text(json.dumps(index, indent=2), encoding="utf-8")
    return Path(target)


def import_safetensors(path: str | PathLike[str]) -> dict[str, Tensor]:
    """Read the weights of a safetensors file, or of a folder of them with an index, for ``load_state_dict``.

    Raises:
        FileNotFoundError: nothing is there, or a file that the index names isn't.
        UnpicklingError: a file is damaged or no safetensors file.
    """
    source = Path(path)
    if not source.exists():
        message = f"There are no weights at `{source}`."
        raise FileNotFoundError(message)
    files = _files_of(source) if source.is_dir() else [source]
    weights: dict[str, Tensor] = {}
    for file in files:
        read: dict[str, Tensor] = {}
        for name, tensor in read_header(file)[0].items():
            if tensor.key not in read:
                read[tensor.key] = tensor.read()
            weights[name] = read[tensor.key]
    return weights


def _with_prefix(opened: OpenedCheckpoint, prefix: str) -> dict[str, StoredTensor]:
    found = opened.weights()
    weights = {name.removeprefix(prefix): tensor for name, tensor in found.items() if name.startswith(prefix)}
    if not weights:
        message = f"No weights of `{opened.path}` begin with `prefix` {prefix!r}; there are {list(found)[:5]}."
        raise ValueError(message)
    return weights


def _metadata(opened: OpenedCheckpoint) -> dict[str, str]:
    keys = ("epoch", "global_step", "pytorch-lightning_version")
    facts: dict[str, Any] = {key: opened.tree[key] for key in keys if key in opened.tree}
    return {"format": "pt", **{key: str(value) for key, value in facts.items()}}


def _cut(weights: dict[str, StoredTensor], max_shard_bytes: int) -> Iterator[dict[str, StoredTensor]]:
    """Yield the weights in portions; names of one tensor stay together."""
    portions: dict[str, dict[str, StoredTensor]] = {}
    for name, tensor in weights.items():
        portions.setdefault(tensor.key, {})[name] = tensor
    shard: dict[str, StoredTensor] = {}
    filled = 0
    for portion in portions.values():
        nbytes = next(iter(portion.values())).nbytes
        if shard and filled + nbytes > max_shard_bytes:
            yield shard
            shard, filled = {}, 0
        shard = shard | portion
        filled += nbytes
    yield shard


def _files_of(folder: Path) -> list[Path]:
    index = folder / INDEX_NAME
    if not index.is_file():
        message = f"The folder `{folder}` has no `{INDEX_NAME}`, which says where the weights are."
        raise FileNotFoundError(message)
    names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    return [folder / Path(name).name for name in sorted(names)]
