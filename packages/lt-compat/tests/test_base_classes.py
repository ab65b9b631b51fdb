from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from lt_checkpoint_io import AsyncCheckpointIO, TorchCheckpointIO
from lt_compat.base_classes import CheckpointIO, ClusterEnvironment, Precision, Profiler
from lt_core import LightningModule, Trainer
from lt_fabric import FullPrecision, LocalEnvironment
from lt_precision import MixedPrecision

QUIET: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}


class TinyModule(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(32, 1)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self.layer(batch).square().mean()

    def on_train_batch_end(self, outputs: Any, batch: torch.Tensor, batch_idx: int) -> None:
        """Heard, so that a profiler has a span for it."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class TheirIO(CheckpointIO):
    """As written for Lightning 2.0: three methods, and no `weights_only`."""

    def save_checkpoint(
        self, checkpoint: Mapping[str, Any], path: str | PathLike[str], storage_options: Any = None
    ) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        torch.save({"wrapped": checkpoint}, path)

    def load_checkpoint(self, path: str | PathLike[str], map_location: Any = None) -> dict[str, Any]:  # type: ignore[override]
        loaded: dict[str, Any] = torch.load(path, map_location)["wrapped"]
        return loaded

    def remove_checkpoint(self, path: str | PathLike[str]) -> None:
        Path(path).unlink()


class TheirProfiler(Profiler):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spans: list[str] = []

    def start(self, action_name: str) -> None:
        self.spans.append(action_name)

    def stop(self, action_name: str) -> None:
        assert action_name in self.spans

    def summary(self) -> str:
        return f"{len(self.spans)} spans\n"


class TheirEnvironment(ClusterEnvironment):
    @staticmethod
    def detect() -> bool:  # type: ignore[override]
        return False

    creates_processes_externally = True  # type: ignore[assignment]
    main_address = "127.0.0.1"  # type: ignore[assignment]
    main_port = 12345  # type: ignore[assignment]

    def world_size(self) -> int:
        return 1

    def set_world_size(self, size: int) -> None: ...

    def global_rank(self) -> int:
        return 0

    def set_global_rank(self, rank: int) -> None: ...

    def local_rank(self) -> int:
        return 0

    def node_rank(self) -> int:
        return 0


class Doubling(Precision):
    """Overrides one method of full precision, as users of Lightning do."""

    def convert_input(self, data: Any) -> Any:
        return 2 * data


def fit(module: LightningModule | None = None, **arguments: Any) -> Trainer:
    trainer = Trainer(accelerator="cpu", max_epochs=1, limit_train_batches=2, limit_val_batches=0, **QUIET, **arguments)
    trainer.fit(module or TinyModule(), DataLoader(torch.randn(8, 32), batch_size=2))
    return trainer


def test_a_checkpoint_io_of_three_methods_saves_and_resumes(tmp_path: Path) -> None:
    trainer = fit(plugins=TheirIO(), default_root_dir=tmp_path)
    path = trainer.checkpoint_callback.best_model_path
    assert set(torch.load(path)) == {"wrapped"}
    resumed = Trainer(
        accelerator="cpu", max_epochs=2, limit_train_batches=2, plugins=TheirIO(), default_root_dir=tmp_path, **QUIET
    )
    resumed.fit(TinyModule(), DataLoader(torch.randn(8, 32), batch_size=2), ckpt_path=path)
    assert resumed.global_step == 4


def test_a_profiler_of_two_methods_measures_and_writes_its_report(tmp_path: Path) -> None:
    profiler = TheirProfiler(dirpath=tmp_path, filename="report")
    fit(profiler=profiler, enable_checkpointing=False)
    assert "[LightningModule]TinyModule.on_train_batch_end" in profiler.spans
    assert (tmp_path / "fit-report.txt").read_text() == f"{len(profiler.spans)} spans\n"


def test_an_environment_of_lightnings_ten_methods_serves(tmp_path: Path) -> None:
    trainer = fit(plugins=TheirEnvironment(), enable_checkpointing=False)
    assert trainer.world_size == 1
    with pytest.raises(RuntimeError, match="TheirEnvironment has no queue"):
        TheirEnvironment().requeue()


def test_a_precision_that_overrides_one_method_is_used() -> None:
    seen: list[torch.Tensor] = []

    class Looking(TinyModule):
        def training_step(self, batch: torch.Tensor, batch_idx: int) -> Any:
            seen.append(batch)
            return super().training_step(batch, batch_idx)

    torch.manual_seed(0)
    data = torch.ones(2, 32)
    trainer = Trainer(accelerator="cpu", max_epochs=1, plugins=Doubling(), enable_checkpointing=False, **QUIET)
    trainer.fit(Looking(), DataLoader(data, batch_size=2))
    assert torch.equal(seen[0], 2 * data)


def test_classes_of_lt_count_as_instances() -> None:
    for io in (TorchCheckpointIO(), AsyncCheckpointIO()):
        assert isinstance(io, CheckpointIO)
    assert isinstance(MixedPrecision("bf16-mixed"), Precision)
    assert isinstance(FullPrecision(), Precision)
    assert isinstance(LocalEnvironment(), ClusterEnvironment)
    assert not isinstance(LocalEnvironment(), CheckpointIO)
    assert not isinstance(TorchCheckpointIO(), TheirIO)
