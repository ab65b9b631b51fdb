"""Two pictures of a training run: its learning curves, and the test images that the model got wrong."""

import csv
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # draws into files, also where there's no screen

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.utils.data import TensorDataset

COLUMNS = 6


def draw_pictures(model: nn.Module, test_set: TensorDataset, log_dir: str) -> None:
    folder = Path(log_dir)
    draw_learning_curves(folder / "metrics.csv", folder / "learning_curves.png")
    draw_misclassified(model, test_set, folder / "misclassified.png")
    print(f"Pictures: {folder / 'learning_curves.png'} and {folder / 'misclassified.png'}")


def draw_learning_curves(metrics_file: Path, target: Path) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for axis, metric in zip(axes, ("loss", "accuracy"), strict=True):
        for stage in ("train", "val"):
            steps, values = read_metric(metrics_file, f"{stage}_{metric}")
            axis.plot(steps, values, label=stage, alpha=0.6 if stage == "train" else 1)
        axis.set(xlabel="optimizer step", ylabel=metric, title=f"Digits: {metric}")
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(target, dpi=120)
    plt.close(figure)


def read_metric(metrics_file: Path, name: str) -> tuple[list[int], list[float]]:
    with metrics_file.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get(name)]
    return [int(row["step"]) for row in rows], [float(row[name]) for row in rows]


def draw_misclassified(model: nn.Module, test_set: TensorDataset, target: Path) -> None:
    images, digits = test_set.tensors
    model.eval()
    with torch.no_grad():
        guesses = model(images).argmax(dim=1)
    wrong = (guesses != digits).nonzero().flatten().tolist()
    num_rows = max(1, -(-len(wrong) // COLUMNS))
    figure, axes = plt.subplots(
        num_rows, COLUMNS, figsize=(1.5 * COLUMNS, 1.8 * num_rows + 0.5), squeeze=False, layout="constrained"
    )
    figure.suptitle(f"{len(wrong)} of {len(digits)} test images misclassified")
    for axis in axes.flat:
        axis.axis("off")
    for axis, index in zip(axes.flat, wrong, strict=False):
        axis.imshow(images[index, 0], cmap="gray_r")
        axis.set_title(f"{digits[index]}, not {guesses[index]}", fontsize=10)
    figure.savefig(target, dpi=120)
    plt.close(figure)
