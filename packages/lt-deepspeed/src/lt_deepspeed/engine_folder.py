"""The engine's own sharded folder: what stands for it in a checkpoint's dict, and how it's written and read."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor

from lt_deepspeed.engines import EngineModule
from lt_deepspeed.installation import deepspeed
from lt_interfaces import MisconfigurationException

TAG: Final = "checkpoint"
"""The folder within, as DeepSpeed's ``tag``."""
ENGINE_KEY: Final = "deepspeed_engine"
"""The key under which a state dict has what stands for the engine's state."""
_FORCE: Final = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_PLAIN_TYPES: Final = {
    "runtime.fp16.loss_scaler": ("LossScaler", "DynamicLossScaler"),
    "runtime.zero.config": ("ZeroStageEnum",),
    "utils.tensor_fragment": ("fragment_address",),
}
"""What DeepSpeed pickles beside plain values: classes that only hold numbers."""


class EngineShards(Tensor):
    """Stands for the state of an engine on its way to `DeepSpeedCheckpointIO`, which lets the engine write it.

    A tensor, as checkpoints hold nothing else; it refuses to be written by anything that would write itself.
    """

    placed: EngineModule
    """The module on its engine."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        message = (
            "`state_dict_type='sharded'` leaves it to DeepSpeed's engine to write its state, which takes"
            " `DeepSpeedCheckpointIO`, the default then. Leave out the other checkpoint IO, or use"
            " `state_dict_type='full'`."
        )
        raise TypeError(message)


torch.serialization.add_safe_globals([EngineShards])  # so that it passes where plain values are asked for


def shards_of(placed: EngineModule) -> dict[str, Any]:
    """Return a state dict that stands for the engine's state."""
    shards = torch.empty(0).as_subclass(EngineShards)
    shards.placed = placed
    return {ENGINE_KEY: shards}


def without_engines(value: Any, engines: list[EngineModule]) -> Any:
    """Return a checkpoint's content with the place of each engine's shards in a folder, and note the engines."""
    if isinstance(value, EngineShards):
        engines.append(value.placed)
        return _place(len(engines) - 1)
    if isinstance(value, dict):
        return {key: without_engines(one, engines) for key, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(without_engines(one, engines) for one in value)
    return value


def with_folders(value: Any, folder: Path) -> Any:
    """Return content with the folders of engines' shards in their places."""
    if isinstance(value, dict):
        return {
            key: str(folder / one) if key == ENGINE_KEY else with_folders(one, folder) for key, one in value.items()
        }
    if type(value) in (list, tuple):
        return type(value)(with_folders(one, folder) for one in value)
    return value


def _place(number: int) -> str:
    """Return where in a folder an engine's shards lie; the first one's in the folder itself, as DeepSpeed has it."""
    return f"engine_{number}" if number else "."


def folder_in(state: Any) -> Path | None:
    """Return the folder that a state dict read by `DeepSpeedCheckpointIO` stands for, if it does."""
    folder = state.get(ENGINE_KEY) if isinstance(state, Mapping) else None
    return Path(folder) if isinstance(folder, str) else None


def write_engines(engines: Sequence[EngineModule], folder: Path) -> None:
    """Let engines write their shards; collective, into a folder that all ranks see."""
    for number, placed in enumerate(engines):
        placed.engine.save_checkpoint(
            str(folder / _place(number)), tag=TAG, exclude_frozen_parameters=placed.excludes_frozen
        )


def read_engine(placed: EngineModule, folder: Path, *, strict: bool) -> None:
    """Let the engine that trains a module read its shards: weights and its optimizer's state. Collective.

    Raises:
        MisconfigurationException: the folder was written by another number of ranks.
        RuntimeError: it was written for another module.
    """
    num_parts = len(list(folder.glob(f"{TAG}/*optim_states.pt")))
    if num_parts != dist.get_world_size():
        message = (
            f"{str(folder)!r} was written by {num_parts} processes, and there are {dist.get_world_size()}: an engine's"
            " own shards are read by as many. Make a file of them with `python -m lt_deepspeed.consolidation`, or save"
            " with `state_dict_type='full'`, which any number reads."
        )
        raise MisconfigurationException(message)
    with without_pickle():
        placed.engine.load_checkpoint(str(folder), tag=TAG, load_module_strict=strict, load_lr_scheduler_states=False)


def whole_weights(folder: Path, tag: str | None = None) -> dict[str, Tensor]:
    """Return the fp32 weights that lie in the shards of a folder; needs no processes."""
    with without_pickle():
        found = deepspeed("utils.zero_to_fp32").get_fp32_state_dict_from_zero_checkpoint(str(folder), tag)
    return {name: value.clone() for name, value in found.items()}


@contextmanager
def without_pickle() -> Iterator[None]:
    """Let DeepSpeed read files without running code from them: it would unpickle whatever they hold."""
    types = [getattr(deepspeed(module), name) for module, names in _PLAIN_TYPES.items() for name in names]
    before = os.environ.get(_FORCE)
    os.environ[_FORCE] = "1"
    try:
        with torch.serialization.safe_globals(types):
            yield
    finally:
        if before is None:
            del os.environ[_FORCE]
        else:
            os.environ[_FORCE] = before
