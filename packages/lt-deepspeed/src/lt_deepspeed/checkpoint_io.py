"""Checkpoints as folders that DeepSpeed's engine writes its shards into, one file per rank."""

from collections.abc import Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, Final

import torch.distributed as dist

from lt_deepspeed.engine_folder import with_folders, without_engines, write_engines
from lt_deepspeed.engines import EngineModule
from lt_interfaces import CheckpointIO, CheckpointTraits, MisconfigurationException, StoredCheckpoint
from lt_interfaces.commit import commit_folder, is_whole, remove_committed, visible_entries
from lt_interfaces.torch_file import load_torch_file, save_torch_file

REST: Final = "rest.ckpt"
"""The file of all that the engine doesn't hold, such as progress and callbacks."""


class DeepSpeedCheckpointIO(CheckpointIO):
    """Writes a folder with the engine's shards; nothing is gathered, so it suits models that no process can hold.

    The folder appears when every rank has written its part, with a list of its files last. It's read by as many ranks
    as wrote it; `convert_zero_checkpoint_to_fp32_state_dict` makes a file of it that everything else loads. Checkpoints
    without an engine's state, such as those of `state_dict_type='full'`, become ordinary files.
    """

    @property
    def traits(self) -> CheckpointTraits:
        return CheckpointTraits(sharded=True)

    def save_checkpoint(
        self, checkpoint: Mapping[str, Any], path: str | PathLike[str], storage_options: Any | None = None
    ) -> None:
        if storage_options is not None:
            message = f"`storage_options` must be None for `DeepSpeedCheckpointIO`, not {storage_options!r}."
            raise TypeError(message)
        engines: list[EngineModule] = []
        rest = without_engines(dict(checkpoint), engines)
        if not engines:
            if _is_first():
                save_torch_file(checkpoint, path)
            return
        with _shared_folder(path) as folder:
            write_engines(engines, folder)
            if _is_first():
                save_torch_file(rest, folder / REST)
            dist.barrier()  # the list of files comes when all are there

    def load_checkpoint(
        self, path: str | PathLike[str], map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        folder = Path(path)
        if not folder.is_dir():
            return load_torch_file(path, map_location, weights_only)
        if not (folder / REST).is_file() or not is_whole(folder):
            message = f"`{folder}` isn't a whole checkpoint of `DeepSpeedCheckpointIO`: files are missing or cut off."
            raise MisconfigurationException(message)
        rest: dict[str, Any] = with_folders(load_torch_file(folder / REST, map_location, weights_only), folder)
        return rest

    def remove_checkpoint(self, path: str | PathLike[str]) -> None:
        if _is_first():
            remove_committed(path)

    def stored(self, folder: str | PathLike[str]) -> list[StoredCheckpoint]:
        return [StoredCheckpoint(path, modified) for path, modified in visible_entries(folder)]

    def is_whole(self, path: str | PathLike[str]) -> bool:
        return is_whole(path)

    def poll(self) -> None:
        """Do nothing: what goes wrong is raised by the save itself."""

    def teardown(self) -> None:
        """Do nothing: every save was finished when it returned."""


@contextmanager
def _shared_folder(path: str | PathLike[str]) -> Any:
    """Yield the folder that rank 0 commits at the end, on all ranks."""
    if _is_first():
        with commit_folder(path) as folder:
            _send(str(folder))
            yield folder
    else:
        yield Path(_send(None))


def _send(text: str | None) -> Any:
    sent = [text]
    dist.broadcast_object_list(sent, src=0)
    return sent[0]


def _is_first() -> bool:
    return not dist.is_initialized() or dist.get_rank() == 0
