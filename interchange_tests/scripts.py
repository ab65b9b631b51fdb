"""Training scripts that run on any of the frameworks, and what can be seen of a run afterwards."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from sides import Side, quietly
from torch import Tensor
from twins import Data, Journal, Net, twin

EPOCHS_BEFORE = 2
EPOCHS_AFTER = 4
POINTS = ("kept", "after_fit")
"""Who writes the file: `ModelCheckpoint` at the end of an epoch, or the script after `fit`."""
_COMPARED = {"epoch", "global_step", "state_dict", "optimizer_states", "lr_schedulers", "callbacks", "journal"}
_OWN_WAYS = ("stopping_reason", "stopping_reason_message", "current_score")
"""States of callbacks that nothing is decided on: new since some release of Lightning 2, or with us the last score seen
rather than the last one kept."""


@dataclass(frozen=True)
class Script:
    """A training script, in what differs between scripts."""

    module: type = Net
    trainer: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Run:
    """What a script leaves behind."""

    trainer: Any
    data: Any
    journal: Any
    file: dict[str, Any]

    @property
    def seen(self) -> dict[str, Any]:
        """What must be the same, whichever framework ran, and whether it was interrupted or not."""
        file = {key: value for key, value in self.file.items() if key in _COMPARED}
        for state in file["callbacks"].values():
            for key in _OWN_WAYS:
                state.pop(key, None)
        return {
            "progress": (self.trainer.current_epoch, self.trainer.global_step),
            "epochs": [epoch for epoch in self.journal.epochs if epoch >= EPOCHS_BEFORE],
            "batches": [place for place in self.journal.batches if place[0] >= EPOCHS_BEFORE],
            "metrics": dict(self.trainer.callback_metrics),
            "file": file,
        }


def run(side: Side, script: Script, root: Path, *, max_epochs: int, ckpt_path: Path | None = None) -> Run:
    """Fit, and save once more at the end."""
    journal = twin(Journal, side)()
    callbacks = [
        side.EarlyStopping("val_loss", patience=5, min_delta=0.5),
        journal,
        side.ModelCheckpoint(str(root / "kept"), monitor="val_loss", **{"save_top_k": -1, **script.checkpoint}),
        _saver(side, root),
    ]
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    limits = {"max_epochs": max_epochs, "accelerator": "cpu", "default_root_dir": str(root)}
    trainer = quietly(side, side.Trainer, callbacks=callbacks, **quiet, **{**limits, **script.trainer})
    module, data = twin(script.module, side)(), twin(Data, side)()
    path = None if ckpt_path is None else str(ckpt_path)
    quietly(side, trainer.fit, module, datamodule=data, ckpt_path=path)
    trainer.save_checkpoint(root / "after_fit.ckpt")
    return Run(trainer, data, journal, torch.load(root / "after_fit.ckpt", weights_only=True))


def uninterrupted(side: Side, script: Script, root: Path) -> Run:
    """Fit for all epochs at once; the folder is left for the next run."""
    whole = run(side, script, root, max_epochs=EPOCHS_AFTER)
    shutil.rmtree(root)
    return whole


def interrupted(side: Side, script: Script, root: Path, point: str) -> Path:
    """Fit for some epochs, and return the file that was written at a point of the last one."""
    run(side, script, root, max_epochs=EPOCHS_BEFORE)
    if point != "kept":
        return root / f"{point}.ckpt"
    return max((root / "kept").glob(f"epoch={EPOCHS_BEFORE - 1}-*.ckpt"))


def continued(side: Side, script: Script, path: Path, root: Path) -> Run:
    """Go on from a file in the folder it was written to, where callbacks find what they kept."""
    return run(side, script, root, max_epochs=EPOCHS_AFTER, ckpt_path=path)


def differences(first: Any, second: Any, place: str = "") -> list[str]:
    """List where two nested values differ; tensors must be equal bit by bit."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        same = first.dtype == second.dtype and torch.equal(first, second)
        return [] if same else [f"{place}: {first} != {second}"]
    if isinstance(first, dict) and isinstance(second, dict):
        keys = {*first, *second} - {"watch"}  # what our ModelCheckpoint remembers beyond Lightning's
        return [
            line
            for key in sorted(keys, key=str)
            for line in differences(first.get(key, "-"), second.get(key, "-"), f"{place}/{key}")
        ]
    if isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        pairs = zip(first, second, strict=True)
        return [line for number, pair in enumerate(pairs) for line in differences(*pair, f"{place}/{number}")]
    return [] if type(first) is type(second) and first == second else [f"{place}: {first!r} != {second!r}"]


def _saver(side: Side, root: Path) -> Any:
    class Saver(side.Callback):
        """Saves in hooks of the last epoch before the interruption."""

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            self._save(trainer, f"batch_{batch_idx}")

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            self._save(trainer, "epoch_end")

        def _save(self, trainer: Any, name: str) -> None:
            if trainer.current_epoch == EPOCHS_BEFORE - 1:
                trainer.save_checkpoint(root / f"{name}.ckpt")

    return Saver()
