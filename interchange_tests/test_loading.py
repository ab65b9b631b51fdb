"""Modules, datamodules and weights load from each other's files, for anything but going on with training."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from scripts import Script, continued, interrupted, run
from sides import NAMES, OURS, Side, lightning, quietly
from torch import Tensor
from twins import Data, Net, rounded, rows, twin

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
DIRECTIONS = [(writer, reader) for name in NAMES for writer, reader in ((name, "lt"), ("lt", name))]


@dataclass
class Pair:
    """One framework's files, and the other framework."""

    reader: Side
    root: Path
    full: Path
    weights: Path
    module: Any


@pytest.fixture(scope="module", params=DIRECTIONS, ids=lambda names: f"from-{names[0]}-to-{names[1]}")
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    writer, reader = (OURS if name == "lt" else lightning(name) for name in request.param)
    root = tmp_path_factory.mktemp("files")
    module, data = twin(Net, writer)(0.02, width=5), twin(Data, writer)(seed=7)
    trainer = quietly(writer, writer.Trainer, max_epochs=1, default_root_dir=str(root), **QUIET)
    quietly(writer, trainer.fit, module, datamodule=data)
    trainer.save_checkpoint(root / "full.ckpt")
    trainer.save_checkpoint(root / "weights.ckpt", weights_only=True)
    return Pair(reader, root, root / "full.ckpt", root / "weights.ckpt", module)


@pytest.mark.parametrize("kind", ["full", "weights"])
def test_module_loads_with_its_hyperparameters(pair: Pair, kind: str) -> None:
    loaded = quietly(pair.reader, twin(Net, pair.reader).load_from_checkpoint, str(getattr(pair, kind)))
    assert dict(loaded.hparams) == {"lr": 0.02, "width": 5}
    assert _same(loaded.state_dict(), pair.module.state_dict())


def test_arguments_win_over_the_file(pair: Pair) -> None:
    loaded = quietly(pair.reader, twin(Net, pair.reader).load_from_checkpoint, str(pair.full), lr=0.5)
    assert dict(loaded.hparams) == {"lr": 0.5, "width": 5}


def test_datamodule_loads_with_its_hyperparameters(pair: Pair) -> None:
    loaded = quietly(pair.reader, twin(Data, pair.reader).load_from_checkpoint, str(pair.full))
    assert dict(loaded.hparams) == {"seed": 7}


@pytest.mark.parametrize("kind", ["full", "weights"])
def test_evaluation_takes_the_weights_of_the_file(pair: Pair, kind: str) -> None:
    path, fresh = str(getattr(pair, kind)), twin(Net, pair.reader)(width=5)
    trainer = quietly(pair.reader, pair.reader.Trainer, default_root_dir=str(pair.root), **QUIET)
    with torch.no_grad():
        loss = float(torch.stack([rounded(pair.module.loss(batch)) for batch in rows(3)]).mean())
    (validated,) = quietly(pair.reader, trainer.validate, fresh, rows(3), ckpt_path=path)
    assert validated == {"val_loss": loss}
    (tested,) = quietly(pair.reader, trainer.test, fresh, rows(3), ckpt_path=path)
    assert tested["test_loss"] == pytest.approx(loss, abs=1 / 256)
    predicted = quietly(pair.reader, trainer.predict, fresh, rows(3), ckpt_path=path)
    with torch.no_grad():
        assert torch.equal(torch.cat(predicted), torch.cat([pair.module.net(batch) for batch in rows(3)]))


def test_training_cant_go_on_from_weights_alone(pair: Pair) -> None:
    trainer = quietly(pair.reader, pair.reader.Trainer, default_root_dir=str(pair.root), max_epochs=2, **QUIET)
    with pytest.raises(KeyError):
        quietly(pair.reader, trainer.fit, twin(Net, pair.reader)(width=5), rows(), rows(), ckpt_path=str(pair.weights))


@pytest.mark.parametrize("direction", DIRECTIONS, ids=lambda names: f"from-{names[0]}-to-{names[1]}")
def test_datamodule_and_hooks_get_back_what_they_saved(direction: tuple[str, str], tmp_path: Path) -> None:
    writer, reader = (OURS if name == "lt" else lightning(name) for name in direction)
    root = tmp_path / "run"
    path = interrupted(writer, Script(), root, "after_fit")
    saved = torch.load(path, weights_only=True)["Data"]["batches_given"]
    gone_on = continued(reader, Script(), path, root)
    # Two epochs with four batches of training and of validation each, and a sanity check of two batches.
    assert gone_on.data.batches_given == saved + 2 * 8 + 2
    assert gone_on.journal.found == {"at": 8}


@pytest.mark.parametrize("name", NAMES)
def test_objects_in_a_file_of_lightning_are_loaded_only_when_asked_for(name: str, tmp_path: Path) -> None:
    theirs = lightning(name)
    module = twin(Net, theirs)()
    module.save_hyperparameters({"activation": Chosen("tanh")})
    trainer = quietly(theirs, theirs.Trainer, max_epochs=1, default_root_dir=str(tmp_path), **QUIET)
    quietly(theirs, trainer.fit, module, rows(), rows())
    trainer.save_checkpoint(tmp_path / "objects.ckpt")
    ours, path = twin(Net, OURS), tmp_path / "objects.ckpt"
    with pytest.raises(pickle.UnpicklingError, match="pass `weights_only=False`"):
        ours.load_from_checkpoint(path)
    assert _same(ours.load_from_checkpoint(path, weights_only=False).state_dict(), module.state_dict())
    going_on = OURS.Trainer(max_epochs=2, default_root_dir=tmp_path, **QUIET)
    with pytest.raises(pickle.UnpicklingError, match="`weights_only=False`"):
        going_on.fit(ours(), rows(), rows(), ckpt_path=path)
    going_on.fit(ours(), rows(), rows(), ckpt_path=path, weights_only=False)
    assert going_on.global_step == 8


@pytest.mark.parametrize("name", NAMES)
def test_our_files_have_what_files_of_lightning_have(name: str, tmp_path: Path) -> None:
    theirs, ours = (run(side, Script(), tmp_path / str(side), max_epochs=2).file for side in (lightning(name), OURS))
    assert set(ours) - set(theirs) == {"lt"}
    assert set(theirs) <= set(ours)
    assert set(_places(theirs["loops"])) <= set(_places(ours["loops"]))


@pytest.mark.parametrize("point", ["batch_1", "batch_3", "epoch_end", "after_fit"])
def test_counters_are_those_that_lightning_writes(point: str, tmp_path: Path) -> None:
    counters = []
    for side in (lightning(NAMES[0]), OURS):
        interrupted(side, Script(), tmp_path / str(side), "after_fit")
        loop = torch.load(tmp_path / str(side) / f"{point}.ckpt", weights_only=True)["loops"]["fit_loop"]
        if point == "after_fit":  # theirs still shows the epoch that is over
            loop["epoch_loop.batch_progress"].pop("current")
            loop["epoch_loop.batch_progress"].pop("is_last_batch")
        counters.append([loop[key] for key in DECISIVE])
    assert counters[0] == counters[1]


DECISIVE = ("epoch_progress", "epoch_loop.batch_progress", "epoch_loop.state_dict")
"""The counters by which Lightning decides where to go on."""


class Chosen:
    """An object that isn't a plain value."""

    def __init__(self, name: str) -> None:
        self.name = name


def _places(value: Any, place: str = "") -> list[str]:
    if not isinstance(value, dict):
        return [place]
    return [place, *(inner for key, item in value.items() for inner in _places(item, f"{place}/{key}"))]


def _same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
