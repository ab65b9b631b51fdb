"""Making a module from a checkpoint: its constructor's arguments, then its weights."""

import os
from typing import IO, Any, Protocol, TypeVar

import torch
from torch import Tensor

from lt_interfaces.module_state import HoldsWeights, listed, load_state_dict_clearly
from lt_interfaces.rank_zero import rank_zero_warn
from lt_interfaces.reinstantiation import instantiate, read_checkpoint, read_hyperparameters


class Loadable(HoldsWeights, Protocol):
    """What a module offers to be made from a checkpoint."""

    @property
    def strict_loading(self) -> bool:
        """Whether all keys must match."""

    def configure_model(self) -> None:
        """Make the layers that aren't made in the constructor."""

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """See, and maybe change, the checkpoint before the weights are loaded."""

    def to(self, device: Any) -> Any:
        """As `torch.nn.Module.to`."""


Module = TypeVar("Module", bound=Loadable)


def load_from_checkpoint(
    cls: type[Module],
    checkpoint_path: str | os.PathLike[str] | IO[bytes],
    map_location: Any = None,
    hparams_file: str | os.PathLike[str] | None = None,
    strict: bool | None = None,
    weights_only: bool | None = None,
    **kwargs: Any,
) -> Module:
    """Make a module from a checkpoint file, as documented at ``LightningModule.load_from_checkpoint``.

    Arguments for the constructor come from ``kwargs``, else from ``hparams_file``, else from the checkpoint. The module
    lands on the device of the first tensor among the weights. Nothing is unpickled but plain values and tensors unless
    ``weights_only=False``.

    Args:
        cls: the module's class.
        checkpoint_path: a local path, an open binary file or an ``http(s)`` address.
        map_location: as in `torch.load`; by default tensors of a device that doesn't exist here come to the CPU.
        hparams_file: a ``.yaml`` or ``.csv`` file of hyper-parameters; stronger than those in the checkpoint.
        strict: whether all keys of the weights must match; by default what the module's ``strict_loading`` says.
        weights_only: ``False`` unpickles arbitrary objects, only for files whose author you trust.
        kwargs: arguments for the constructor; the strongest.

    Raises:
        KeyError: the file holds no weights.
        ValueError: ``strict`` contradicts the module's ``strict_loading``.
        RuntimeError: keys don't match, and they must.
    """
    checkpoint = read_checkpoint(checkpoint_path, map_location=map_location, weights_only=weights_only)
    if "state_dict" not in checkpoint:
        message = f"{str(checkpoint_path)!r} holds no weights: the key `state_dict` isn't among {sorted(checkpoint)}."
        raise KeyError(message)
    saved = dict(checkpoint.get("hyper_parameters") or {})
    if hparams_file is not None:
        saved.update(read_hyperparameters(hparams_file, install='"lt-core[yaml]"'))
    module = instantiate(cls, saved, name=checkpoint.get("hparams_name"), overrides=kwargs)
    demanded = _strictness(module, strict)
    module.configure_model()
    module.on_load_checkpoint(checkpoint)
    _load_weights(module, checkpoint["state_dict"], strict=demanded)
    return module


def _strictness(module: Loadable, strict: bool | None) -> bool:
    if strict is None:
        return module.strict_loading
    # `strict_loading` is true both where it was set and where it was not; only a choice can be contradicted.
    chosen = getattr(module, "_strict_loading", None)
    if chosen is not None and chosen != strict:
        message = (
            f"`strict={strict}` contradicts the module, whose `strict_loading` is set to {chosen}. "
            "Leave `strict` out, or don't set `strict_loading` in the module."
        )
        raise ValueError(message)
    return strict


def _load_weights(module: Loadable, weights: dict[str, Any], *, strict: bool) -> None:
    if not weights:
        rank_zero_warn("The checkpoint's `state_dict` is empty: the module keeps the weights it was made with.")
        return
    device = next((value.device for value in weights.values() if isinstance(value, Tensor)), torch.device("cpu"))
    keys = load_state_dict_clearly(module, weights, strict=strict)
    for problem, names in (
        ("isn't in the checkpoint", keys.missing_keys),
        ("isn't in the module", keys.unexpected_keys),
    ):
        if names:
            rank_zero_warn(f"Loaded without `strict`: what follows {problem}: {listed(names)}")
    module.to(device)
