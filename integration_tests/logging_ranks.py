"""What one of several ranks logs, in a module that processes can import."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from evaluating_ranks import Numbers, Stream, new_trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric, Metric
from torchmetrics.utilities.data import dim_zero_cat

from lt_core import LightningModule
from lt_interfaces.callback import Callback
from lt_interfaces.errors import SIGTERMException
from lt_interfaces.logger import Logger

RANK = "LOCAL_RANK"


def own_rank() -> int:
    return int(os.environ[RANK])


class SumOfRows(Metric):
    """Keeps a list of tables of whole numbers, as metrics of labels do."""

    rows: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("rows", default=[], dist_reduce_fx="cat")

    def update(self, batch: Tensor) -> None:
        self.rows.append(torch.stack([batch, batch], dim=1))

    def compute(self) -> Tensor:
        return dim_zero_cat(self.rows).sum().float()


class Net(LightningModule):
    """Has a loss, and nothing else to say."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        nn.init.zeros_(self.layer.weight)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.layer(batch.float()[:, None]).square().mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.0)


class Journal(Logger):
    """Remembers what it's sent."""

    name, version = "journal", 0

    def __init__(self) -> None:
        self.sent: list[tuple[int | None, dict[str, float]]] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.sent.append((step, dict(metrics)))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Remember nothing."""


@contextmanager
def counted(name: str) -> Iterator[list[int]]:
    """Count the calls of one of torch's collectives."""
    original, calls = getattr(dist, name), [0]

    def count(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        return original(*args, **kwargs)

    setattr(dist, name, count)
    try:
        yield calls
    finally:
        setattr(dist, name, original)


# --- an evaluation in which a rank has nothing ---


class WithMetrics(Net):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(1, affine=False)  # has buffers, which ranks mustn't exchange for every batch
        self.mean = MeanMetric()
        self.table = SumOfRows()
        self.twice = SumOfRows() * 2  # a metric that's made of another
        self.early: list[str] = []
        self.decided: dict[str, float] = {}

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.norm(batch.float()[:, None])
        self.mean(batch.float())
        self.table.update(batch)
        self.twice.update(batch)
        self.log("mean", self.mean)
        self.log("table", self.table)
        self.log("twice", self.twice)
        self.log("plain", batch.float().mean())

    def on_validation_epoch_end(self) -> None:
        if own_rank() == 0:
            self.early = sorted(self.trainer.callback_metrics)  # on one rank only: must wait for nobody
        self.decided = {key: float(self.trainer.reduced(key)) for key in ("mean", "plain")}


def evaluate_few(sizes: list[int]) -> list[Any]:
    """Validate on fewer samples than ranks, again and again with the same module."""
    module, trainer, found = WithMetrics(), new_trainer(), []
    for size in sizes:
        outputs = trainer.validate(module, DataLoader(Numbers(size), batch_size=2), verbose=False)
        shown = {name: float(value) for name, value in trainer.callback_metrics.items()}
        found.append((outputs, shown, module.early, module.decided))
    return found


def count_synchronisations(size: int) -> tuple[int, int]:
    """Return how many gatherings a validation takes with a metric object and without."""

    class WithoutMetrics(Net):
        def validation_step(self, batch: Tensor, batch_idx: int) -> None:
            self.log("plain", batch.float().mean())

    class WithOne(WithoutMetrics):
        def __init__(self) -> None:
            super().__init__()
            self.mean = MeanMetric()

        def validation_step(self, batch: Tensor, batch_idx: int) -> None:
            self.mean.update(batch.float())
            self.log("mean", self.mean)

    counts = []
    for module in (WithOne(), WithoutMetrics()):
        with counted("all_gather") as calls:
            new_trainer().validate(module, DataLoader(Numbers(size), batch_size=1), verbose=False)
        counts.append(calls[0])
    return counts[0], counts[1]


# --- fitting ---


class Watching(Callback):
    """Remembers what a validation in the middle of training came to, as everybody reads it."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        self.seen.append(float(trainer.callback_metrics["mean"]))
        self.seen.append(float(trainer.reduced("mean")))


def fit_with_few_validation_samples(size: int) -> list[float]:
    """Fit with a sanity check and two validations, for which a rank has nothing."""
    watching = Watching()
    trainer = new_trainer(max_epochs=2, callbacks=watching, limit_train_batches=2)
    loader = DataLoader(Numbers(size), batch_size=2)
    trainer.fit(WithMetrics(), DataLoader(Numbers(12), batch_size=2), loader)
    return watching.seen


def count_gatherings_per_fit(log_every: int) -> int:
    """Return how many times ranks gathered values in an epoch of eight batches."""

    class Logging(Net):
        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            loss = super().training_step(batch, batch_idx)
            self.log("loss", loss, on_step=True, on_epoch=True)
            return loss

    trainer = new_trainer(max_epochs=1, log_every_n_steps=log_every, logger=Journal())
    with counted("all_gather") as calls:
        trainer.fit(Logging(), DataLoader(Numbers(16), batch_size=1))
    return calls[0]


@dataclass(frozen=True)
class LateFit:
    """What an epoch of eight batches came to whose module logs step values from some batch on, if at all."""

    gatherings: int
    sent: list[tuple[int | None, dict[str, float]]]
    said: str
    """Of what was raised."""


def fit_logging_late(
    first: int | None, *, log_every: int = 2, only_rank: int | None = None, own: bool = False
) -> LateFit:
    """Log per step from a batch on, on all ranks or on one alone, and what's each rank's own if that's wanted."""

    class Late(Net):
        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            if first is not None and batch_idx >= first and only_rank in (None, own_rank()):
                self.log("x", float(batch_idx), on_step=True, on_epoch=False)
            if own:
                self.log("own", float(batch_idx), on_step=True, on_epoch=False, rank_zero_only=True)
            return super().training_step(batch, batch_idx)

    journal, said = Journal(), ""
    trainer = new_trainer(max_epochs=1, log_every_n_steps=log_every, logger=journal)
    with counted("all_gather") as calls:
        try:
            trainer.fit(Late(), DataLoader(Numbers(16), batch_size=1))
        except RuntimeError as error:
            said = f"after {trainer.global_step} steps: {error}"
    sent = [(step, {key: metrics[key] for key in ("x", "own") if key in metrics}) for step, metrics in journal.sent]
    return LateFit(calls[0], sent, said)


def fit_logging_late_in_all_ways() -> dict[str, LateFit]:
    """Fit with the same batches, logging as differently as can be."""
    return {
        "without flushes": fit_logging_late(None, log_every=0),
        "never": fit_logging_late(None),
        "own alone": fit_logging_late(None, own=True),
        "from a flush on": fit_logging_late(5),
        "between flushes": fit_logging_late(4),
        "one rank, at a flush": fit_logging_late(3, only_rank=1),
        "one rank, between flushes": fit_logging_late(4, only_rank=0),
    }


def log_unequal_batches() -> dict[str, float]:
    """Log in training means over batches whose sizes differ between ranks."""

    class Unequal(Net):
        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            rank = own_rank()
            self.log("mean", float(rank), batch_size=1 + 2 * rank, on_step=True, on_epoch=True)
            return super().training_step(batch, batch_idx)

    trainer = new_trainer(max_epochs=1, log_every_n_steps=1)
    trainer.fit(Unequal(), DataLoader(Numbers(4), batch_size=1))
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


# --- step values of an evaluation ---


def log_steps(size: int, *, is_sized: bool) -> list[tuple[int | None, dict[str, float]]]:
    """Log per batch where one rank has a batch more than the other; returns what the logger got."""

    class Stepping(Net):
        def validation_step(self, batch: Tensor, batch_idx: int) -> None:
            self.log("x", batch.float().mean(), on_step=True, on_epoch=False)
            self.log("own", float(batch_idx), on_step=True, on_epoch=False, rank_zero_only=True)

    journal = Journal()
    dataset: Any = Numbers(size) if is_sized else Stream(size)
    trainer = new_trainer(logger=journal)
    trainer.validate(Stepping(), DataLoader(dataset, batch_size=1), verbose=False)
    return journal.sent


# --- differing names ---


def log_other_names(stage: str) -> str:
    """Log a name on rank 1 alone, and return what's said about it."""

    class Differing(Net):
        def __init__(self, *, on_step: bool = False) -> None:
            super().__init__()
            self.on_step = on_step

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            if own_rank() == 1:
                self.log("mine", 1.0)
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch: Tensor, batch_idx: int) -> None:
            self.log("ours", 1.0)
            if own_rank() == 1:
                self.log("mine", 1.0, on_step=self.on_step, on_epoch=not self.on_step)

    loader = DataLoader(Numbers(8), batch_size=1)
    trainer = new_trainer(max_epochs=1, log_every_n_steps=2)
    try:
        if stage == "fit":
            trainer.fit(Differing(), loader)
        else:
            trainer.validate(Differing(on_step=stage == "validate by step"), loader, verbose=False)
    except RuntimeError as error:
        return f"after {trainer.global_step} steps: {error}"
    return "nothing"


# --- being told to end within a validation ---


class TellingRankOne(Callback):
    """Tells rank 1 to end in the first batch of the validation, and counts batches."""

    def __init__(self) -> None:
        self.num_batches = 0

    def on_validation_batch_end(self, trainer: Any, module: Any, *args: Any) -> None:
        self.num_batches += 1
        if own_rank() == 1 and self.num_batches == 1:
            os.kill(os.getpid(), signal.SIGTERM)


def end_in_validation() -> tuple[int, int]:
    """Fit until the end that rank 1 alone is told of; returns batches validated on and steps taken by then."""
    telling = TellingRankOne()
    trainer = new_trainer(max_epochs=5, num_sanity_val_steps=0, val_check_interval=2, callbacks=telling)
    loader = DataLoader(Numbers(16), batch_size=2)
    try:
        trainer.fit(WithMetrics(), loader, loader)
    except SIGTERMException:
        return telling.num_batches, trainer.global_step
    return -1, -1


def everything() -> dict[str, Any]:
    """Do all that doesn't fail, in one job."""
    return {
        "few": evaluate_few([1, 2, 1, 7]),
        "gatherings in validation": count_synchronisations(5),
        "fit": fit_with_few_validation_samples(1),
        "gatherings in fit": [count_gatherings_per_fit(log_every) for log_every in (1, 4, 0)],
        "unequal": log_unequal_batches(),
        "sized steps": log_steps(5, is_sized=True),
        "unsized steps": log_steps(5, is_sized=False),
    }
