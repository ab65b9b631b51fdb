"""The cells of the matrix: which settings a training script is run with."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import combinations, product
from typing import Any, Final


@dataclass(frozen=True)
class Special:
    """What a cell does beyond the product of the matrix."""

    loader: str = "plain"
    """Which training loader, see `kill_matrix.data.training_loader`."""
    saving: str = "steps"
    """When checkpoints are saved: "steps", "every step", "batches", "validation" or "epochs"."""
    habit: str = ""
    """What else the module does, see `kill_matrix.training.Module`."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of the Trainer, whatever their types."""

    def __str__(self) -> str:
        parts = [self.loader if self.loader != "plain" else "", self.habit]
        parts.append(f"saves: {self.saving}" if self.saving != "steps" else "")
        parts += [f"{name}={value}" for name, value in self.arguments.items()]
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class Cell:
    """The settings of one training script."""

    workers: int = 0
    shuffle: bool = True
    dropout: bool = True
    accumulation: int = 1
    manual: bool = False
    scheduler: str = "step"
    """Interval of an exponential decay ("step", "epoch"), or another kind: "plateau", "cycle"."""
    monitored: bool = True
    """Whether EarlyStopping and ModelCheckpoint watch the run."""
    special: Special = field(default_factory=Special)

    def __str__(self) -> str:
        shown = [
            f"workers {self.workers}",
            "shuffled" if self.shuffle else "in order",
            "dropout" if self.dropout else "no dropout",
            f"accumulation {self.accumulation}",
            "manual" if self.manual else "automatic",
            f"scheduler: {self.scheduler}",
            "monitored" if self.monitored else "not monitored",
        ]
        return " · ".join(shown + [str(self.special)] * bool(str(self.special)))


_CHOICES: Final[Mapping[str, Sequence[Any]]] = {
    "workers": (0, 2),
    "shuffle": (False, True),
    "dropout": (False, True),
    "accumulation": (1, 3),
    "manual": (False, True),
    "scheduler": ("step", "epoch"),
    "monitored": (False, True),
}


def whole_product() -> list[Cell]:
    """Return every combination of the matrix."""
    return [Cell(**dict(zip(_CHOICES, values, strict=True))) for values in product(*_CHOICES.values())]


def pairwise(cells: Sequence[Cell]) -> list[Cell]:
    """Choose few cells in which every pair of two settings' values still occurs."""
    left = {pair for cell in cells for pair in _pairs(cell)}
    chosen = []
    while left:
        best = max(cells, key=lambda cell: len(left & set(_pairs(cell))))
        chosen.append(best)
        left -= set(_pairs(best))
    return chosen


def special_cells() -> list[Cell]:
    """Return the cells beside the product: other loaders, other moments of saving, limits, states of the user's own."""
    return [*_with_other_loaders(), *_with_other_savings(), *_with_other_arguments(), *_with_habits()]


def _with_other_loaders() -> Iterator[Cell]:
    for loader in ("batch sampler", "generator", "sampler's generator", "weighted", "replacement"):
        yield Cell(special=Special(loader))
    for workers in (0, 2):
        yield Cell(workers=workers, special=Special("own sampler"))
    yield Cell(special=Special("own sampler, by torch"))
    yield Cell(workers=2, special=Special("generator"), monitored=False)
    yield Cell(workers=2, special=Special("persistent workers"))
    yield Cell(workers=2, special=Special("persistent workers", "batches"), monitored=False, accumulation=3)
    for workers in (0, 2):
        yield Cell(workers=workers, special=Special("stateful"))
        yield Cell(workers=workers, special=Special("combined"), accumulation=3)
    yield Cell(special=Special("combined, longest"))
    yield Cell(special=Special("combined, stateful"))
    yield Cell(shuffle=False, special=Special("iterable"))
    yield Cell(shuffle=False, special=Special("iterable without state"))
    yield Cell(special=Special("random items"))
    for workers in (0, 2):
        yield Cell(workers=workers, special=Special("random items, seeded"))


def _with_other_savings() -> Iterator[Cell]:
    yield Cell(special=Special(saving="every step"))
    yield Cell(special=Special(saving="epochs"))
    for manual in (False, True):
        yield Cell(accumulation=3, manual=manual, monitored=False, special=Special(saving="batches"))
        yield Cell(accumulation=3, manual=manual, monitored=False, special=Special(saving="validation"))
    yield Cell(special=Special(saving="validation", habit="random validation"), monitored=False)


def _with_other_arguments() -> Iterator[Cell]:
    yield Cell(special=Special(arguments={"limit_train_batches": 7}))
    yield Cell(workers=2, accumulation=3, special=Special(arguments={"limit_train_batches": 7}))
    yield Cell(special=Special(saving="every step", arguments={"val_check_interval": 4}))
    yield Cell(
        accumulation=3,
        monitored=False,
        special=Special(saving="validation", arguments={"val_check_interval": 4}),
    )
    yield Cell(special=Special(arguments={"gradient_clip_val": 0.5}), accumulation=3)
    yield Cell(special=Special(habit="datamodule", arguments={"reload_dataloaders_every_n_epochs": 1}))
    yield Cell(special=Special(arguments={"max_steps": 23}), accumulation=3)


def _with_habits() -> Iterator[Cell]:
    for scheduler in ("plateau", "cycle"):
        yield Cell(scheduler=scheduler)
    for metric in ("metric object", "metric of torchmetrics"):
        yield Cell(special=Special(habit=metric), accumulation=3)
    yield Cell(special=Special(habit="state in hooks"))
    yield Cell(special=Special(habit="state in hooks", saving="every step"), accumulation=3)
    yield Cell(special=Special(habit="datamodule"), workers=2)
    yield Cell(special=Special(habit="saves in the background", saving="every step"))


def _pairs(cell: Cell) -> Iterator[tuple[tuple[str, Any], ...]]:
    values = [(one.name, getattr(cell, one.name)) for one in fields(cell) if one.name in _CHOICES]
    yield from combinations(values, 2)
