"""Chemprop: a message-passing network learns a property of small molecules, by the library's command line."""

import csv
import sys
from pathlib import Path
from unittest.mock import patch

import torch
from chemprop.cli.main import main
from chemprop.data import MoleculeDatapoint, MoleculeDataset, build_dataloader
from chemprop.models import MPNN
from lightning import pytorch as pl
from telling import Story, logged, tell

ENDS = {"O": 1.0, "N": 0.7, "Cl": 0.4, "C(=O)O": 1.8, "c1ccccc1": -0.5, "C#N": 1.2}


def molecules() -> list[tuple[str, float]]:
    """Return chains of carbon with various ends, and a number that grows with the chain and hangs on its end."""
    return [("C" * length + end, 0.3 * length + shift) for length in range(1, 11) for end, shift in ENDS.items()]


def chemprop(*words: object) -> None:
    """Run the library's command in this process."""
    with patch.object(sys, "argv", ["chemprop", *map(str, words)]):
        main()


def train(folder: Path) -> Story:
    """Train with validation and a test, then predict with the checkpoint, each by the command line."""
    data = _written(folder / "molecules.csv")
    small = ["--message-hidden-dim", 16, "--ffn-hidden-dim", 16, "--depth", 2]
    here = ["--accelerator", "cpu", "--devices", 1, "--num-workers", 0]
    chemprop(
        *("train", "-q", "--data-path", data, "--task-type", "regression", "--output-dir", folder / "out"),
        *(
            "--epochs",
            4,
            "--warmup-epochs",
            1,
            "--max-lr",
            0.02,
            "--init-lr",
            0.005,
            "--batch-size",
            12,
            "--patience",
            3,
            "--grad-clip",
            1.0,
        ),
        *("--pytorch-seed", 3, "--metrics", "rmse", "mae", *small, *here),
    )
    (best,) = (folder / "out" / "model_0" / "checkpoints").glob("best*.ckpt")
    chemprop("predict", "-q", "--test-path", data, "--model-paths", best, "--preds-path", folder / "preds.csv", *here)
    return {
        "logged": logged(folder / "out"),
        "tested": _column(folder / "out" / "model_0" / "test_predictions.csv"),
        "predicted": _column(folder / "preds.csv", "pred_0"),
        "checkpoint": str(best),
        "left": sorted(path.name for path in (folder / "out" / "model_0").iterdir()),
    }


def reload(checkpoint: Path, folder: Path) -> Story:
    """Load the checkpoint in the library's class, predict with a Trainer, and train for one more epoch."""
    model = MPNN.load_from_checkpoint(checkpoint)
    points = [MoleculeDatapoint.from_smi(smiles, [target]) for smiles, target in molecules()]
    in_order, shuffled = (
        build_dataloader(MoleculeDataset(points), batch_size=12, shuffle=shuffle, seed=3) for shuffle in (False, True)
    )
    settings = {"logger": False, "accelerator": "cpu", "devices": 1, "default_root_dir": folder}
    predicted = pl.Trainer(**settings).predict(model, in_order)
    going_on = pl.Trainer(max_epochs=5, enable_checkpointing=False, **settings)
    going_on.fit(model, shuffled, in_order, ckpt_path=checkpoint, weights_only=False)
    return {
        "predicted": torch.cat(predicted).flatten().tolist(),
        "epochs": going_on.current_epoch,
        "steps": going_on.global_step,
    }


def _written(path: Path) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["smiles", "value"])
        writer.writerows(molecules())
    return path


def _column(path: Path, name: str = "value") -> list[float]:
    with path.open(newline="") as file:
        return [float(row[name]) for row in csv.DictReader(file)]


if __name__ == "__main__":
    tell(train, reload)
