"""A run that goes on from a checkpoint equals the uninterrupted one bit for bit, wherever it was saved."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, WeightedRandomSampler
from torchdata.stateful_dataloader import StatefulDataLoader

from lt_core import LightningModule, Trainer
from lt_fabric import seed_everything
from lt_fabric.data import CombinedLoader
from lt_interfaces import Callback

NUM_SAMPLES = 23

# Items that workers read aren't random here; torchdata calls what torch has deprecated.
pytestmark = pytest.mark.filterwarnings(
    "ignore:'set_vital' is deprecated", "ignore:Training goes on in mid-epoch with a DataLoader", "ignore:.*num_workers"
)


class Items(Dataset[tuple[Tensor, Tensor]]):
    """Items that say which they are; with noise from the global generator, unless workers read them."""

    def __init__(self, *, is_noisy: bool = True) -> None:
        self.is_noisy = is_noisy

    def __len__(self) -> int:
        return NUM_SAMPLES

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        number = torch.tensor(float(index))
        return number, torch.randn(4) if self.is_noisy else torch.full((4,), index / NUM_SAMPLES)


class Stream(IterableDataset[tuple[Tensor, Tensor]]):
    """Saves its own position."""

    def __init__(self) -> None:
        self.at = 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        while self.at < NUM_SAMPLES:
            self.at += 1
            yield torch.tensor(float(self.at)), torch.randn(4)
        self.at = 0

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.at = state["at"]


class StatelessStream(IterableDataset[tuple[Tensor, Tensor]]):
    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return ((torch.tensor(float(number)), torch.full((4,), number / 9.0)) for number in range(NUM_SAMPLES))


class Lazy:
    """Batch sampler that draws each batch from python's global generator when it's asked for."""

    def __len__(self) -> int:
        return 6

    def __iter__(self) -> Iterator[list[int]]:
        for _ in range(6):
            yield [random.randrange(NUM_SAMPLES) for _ in range(4)]


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def pair(mode: str) -> CombinedLoader:
    return CombinedLoader([DataLoader(Items(), 4, shuffle=True), DataLoader(Items(), 9, shuffle=True)], mode)


def with_workers(**options: Any) -> DataLoader[Any]:
    return DataLoader(Items(is_noisy=False), 4, num_workers=2, **options)


LOADERS: dict[str, Callable[[], Any]] = {
    "shuffled": lambda: DataLoader(Items(), 4, shuffle=True),
    "own generator": lambda: DataLoader(Items(), 4, shuffle=True, generator=generator()),
    "replacement": lambda: DataLoader(
        Items(), 4, sampler=RandomSampler(Items(), replacement=True, num_samples=40, generator=generator())
    ),
    "weighted": lambda: DataLoader(Items(), 4, sampler=WeightedRandomSampler([1.0] * NUM_SAMPLES, NUM_SAMPLES)),
    "lazy batches": lambda: DataLoader(Items(), batch_sampler=Lazy()),
    "StatefulDataLoader": lambda: StatefulDataLoader(Items(), 4, shuffle=True),
    "stream": lambda: DataLoader(Stream(), 4),
    "two, min_size": lambda: pair("min_size"),
    "two, max_size": lambda: pair("max_size"),
    "two, max_size_cycle": lambda: pair("max_size_cycle"),
}
LOADERS_WITH_WORKERS: dict[str, Callable[[], Any]] = {
    "shuffled": lambda: with_workers(shuffle=True),
    "persistent": lambda: with_workers(shuffle=True, persistent_workers=True),
    "lazy batches": lambda: DataLoader(Items(is_noisy=False), batch_sampler=Lazy(), num_workers=2),
    "StatefulDataLoader": lambda: StatefulDataLoader(Items(is_noisy=False), 4, shuffle=True, num_workers=2),
}


@dataclass(frozen=True)
class Case:
    """Where a run is saved, and what kind of run it is."""

    hook: str
    nth: int
    accumulation: int = 1
    is_manual: bool = False
    limit: int | None = None


CASES = (
    Case("on_train_batch_end", 2),
    Case("on_train_batch_end", 8, accumulation=3),
    Case("on_train_batch_end", 9, is_manual=True),
    Case("on_validation_batch_end", 2, accumulation=2),
    Case("on_train_epoch_end", 1),
    Case("on_train_batch_end", 4, limit=4),
    Case("on_train_epoch_end", 1, limit=3),
)


class Learns(LightningModule):
    """Learns with dropout, noisy validation, and a record of all it sees."""

    def __init__(self, *, is_manual: bool) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        self.automatic_optimization = not is_manual
        self.seen: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        parts = [part for part in batch if part is not None] if isinstance(batch[0], list | type(None)) else [batch]
        ids, inputs = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        loss: Tensor = self.network(inputs).square().mean()
        self.log("loss", loss, on_step=True, on_epoch=True, batch_size=len(ids))
        self.seen.append((self.trainer.current_epoch, batch_idx, ids.tolist(), loss.item()))
        if not self.automatic_optimization:
            self._step_by_hand(loss, batch_idx)
        return loss

    def _step_by_hand(self, loss: Tensor, batch_idx: int) -> None:
        self.manual_backward(loss / 2)
        if batch_idx % 2:
            optimizer = self.optimizers()
            optimizer.step()
            optimizer.zero_grad()

    def on_train_epoch_end(self) -> None:
        self.seen.append(("epoch", self.trainer.callback_metrics["loss_step"].item()))

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        value = self.network(batch[1]).mean() + torch.rand(())
        self.log("value", value)
        if not self.trainer.sanity_checking:
            self.seen.append(("validation", self.trainer.current_epoch, batch_idx, value.item()))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


class SaveAt(Callback):
    """Saves at the n-th call of a hook, and notes how much was seen by then."""

    def __init__(self, case: Case, path: Path) -> None:
        self.left = case.nth
        self.path = path
        self.seen_before = -1
        setattr(self, case.hook, self._hear)

    def _hear(self, trainer: Any, module: Any, *args: Any) -> None:
        if trainer.sanity_checking:
            return
        self.left -= 1
        if self.left == 0:
            trainer.save_checkpoint(self.path)
            self.seen_before = len(module.seen)


def train(make: Callable[[], Any], case: Case, root: Path, *, seed: int, **start: Any) -> tuple[Learns, SaveAt]:
    seed_everything(seed, verbose=False)
    module, saver = Learns(is_manual=case.is_manual), SaveAt(case, root / "saved.ckpt")
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=3,
        accumulate_grad_batches=case.accumulation,
        limit_train_batches=case.limit,
        callbacks=[] if start else [saver],
        num_sanity_val_steps=1,
        log_every_n_steps=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=root,
    )
    trainer.fit(module, make(), DataLoader(Items(is_noisy=False), 8), **start)
    return module, saver


def assert_goes_on_exactly(make: Callable[[], Any], case: Case, root: Path) -> None:
    whole, saver = train(make, case, root, seed=0)
    rest, _ = train(make, case, root, seed=99, ckpt_path=saver.path)
    # A validation that was under way begins again.
    again = 2 if case.hook == "on_validation_batch_end" else 0
    # The module's own hook comes after the callbacks'.
    assert 0 < saver.seen_before < len(whole.seen)
    skipped = 1 if case.hook == "on_train_epoch_end" else 0
    assert rest.seen == whole.seen[saver.seen_before - again + skipped :]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, rest.state_dict()[name]), name


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("name", LOADERS)
def test_run_goes_on_exactly(name: str, case: Case, tmp_path: Path) -> None:
    assert_goes_on_exactly(LOADERS[name], case, tmp_path)


@pytest.mark.parametrize("case", [CASES[0], CASES[4]], ids=str)
@pytest.mark.parametrize("name", LOADERS_WITH_WORKERS)
def test_run_with_workers_goes_on_exactly(name: str, case: Case, tmp_path: Path) -> None:
    assert_goes_on_exactly(LOADERS_WITH_WORKERS[name], case, tmp_path)


@pytest.mark.filterwarnings("ignore:Going on after batch")
def test_stream_without_a_state_goes_on_exactly(tmp_path: Path) -> None:
    assert_goes_on_exactly(lambda: DataLoader(StatelessStream(), 4), CASES[1], tmp_path)
