"""What processes that were started for an entry point leave to the one that started them."""

import pickle
from pathlib import Path
from typing import Any

import torch
from tiny_runs import Net, rows, trainer_with
from torch import Tensor, nn

from lt_core import Trainer
from lt_core.checkpointing.homecoming import come_home, state_to_bring_home
from lt_core.new_runs import new_evaluation_run
from lt_core.run.fit_run import EvaluationRun, FitRun
from lt_core.run.loaders import LoaderSource
from lt_interfaces import Callback


class Logs(Net):
    """Shows its loss in the progress bar."""

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.log("loss", loss, prog_bar=True)
        return loss


class Late(Logs):
    """Makes its layers in `configure_model`, when they aren't there yet."""

    def __init__(self) -> None:
        super().__init__()
        del self.layer

    def configure_model(self) -> None:
        if not hasattr(self, "layer"):
            self.layer = nn.Linear(3, 1)


class Counts(Callback):
    """Has a state."""

    def __init__(self) -> None:
        self.batches = 0

    def on_train_batch_end(self, *args: Any) -> None:
        self.batches += 1

    def state_dict(self) -> dict[str, Any]:
        return {"batches": self.batches}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.batches = state["batches"]


class Data:
    """A datamodule that has a state."""

    prepare_data_per_node = True

    def __init__(self) -> None:
        self.epochs_given = 0

    def prepare_data(self) -> None:
        """Have everything."""

    def setup(self, stage: str) -> None:
        """Have everything."""

    def teardown(self, stage: str) -> None:
        """Keep everything."""

    def train_dataloader(self) -> Any:
        self.epochs_given += 1
        return rows()

    def state_dict(self) -> dict[str, Any]:
        return {"epochs_given": self.epochs_given}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epochs_given = state["epochs_given"]


def fit_run(trainer: Trainer) -> FitRun:
    run = trainer._fit_run
    assert run is not None
    return run


def fitted(root: Path, module: Net) -> FitRun:
    """Return the run of a fit, as a process that was started for it has it."""
    trainer = trainer_with(root, Counts(), limit_val_batches=0)
    trainer.fit(module, datamodule=Data())
    return fit_run(trainer)


def waiting(root: Path, module: Net, monkeypatch: Any) -> FitRun:
    """Return the run of a fit that other processes work at: nothing has happened here."""
    monkeypatch.setattr("lt_core.trainer.entrance", lambda job: lambda *args, **kwargs: None)
    trainer = trainer_with(root, Counts(), limit_val_batches=0)
    trainer.fit(module, datamodule=Data())
    monkeypatch.undo()
    return fit_run(trainer)


def bring(there: FitRun | EvaluationRun, here: FitRun | EvaluationRun) -> None:
    come_home(here, pickle.loads(pickle.dumps(state_to_bring_home(there))))


def test_weights_come_home(tmp_path: Path, monkeypatch: Any) -> None:
    there, module = fitted(tmp_path, Logs()), Logs()
    bring(there, waiting(tmp_path, module, monkeypatch))
    assert torch.equal(module.weights, there.job.module.weights)
    assert not torch.equal(module.weights, Logs().weights)


def test_layers_made_in_the_processes_come_home(tmp_path: Path, monkeypatch: Any) -> None:
    there, module = fitted(tmp_path, Late()), Late()
    bring(there, waiting(tmp_path, module, monkeypatch))
    assert torch.equal(module.weights, there.job.module.weights)


def test_callbacks_and_datamodule_come_home(tmp_path: Path, monkeypatch: Any) -> None:
    here = waiting(tmp_path, Logs(), monkeypatch)
    bring(fitted(tmp_path, Logs()), here)
    (counts,) = [one for one in here.job.callbacks if isinstance(one, Counts)]
    assert here.job.datamodule is not None
    assert (counts.batches, here.job.datamodule.epochs_given) == (4, 1)


def test_progress_comes_home_and_a_further_fit_goes_on(tmp_path: Path, monkeypatch: Any) -> None:
    there, here = fitted(tmp_path, Logs()), waiting(tmp_path, Logs(), monkeypatch)
    bring(there, here)
    assert here.progress.state_dict() == there.progress.state_dict()
    assert (here.progress.global_step, here.progress.epochs_completed) == (4, 1)


def test_metrics_come_home_in_place_of_earlier_ones(tmp_path: Path, monkeypatch: Any) -> None:
    there, here = fitted(tmp_path, Logs()), waiting(tmp_path, Logs(), monkeypatch)
    here.job.board.callback["of before"] = torch.ones(())
    bring(there, here)
    assert set(here.job.board.callback) == {"loss"}
    for kind in ("callback", "logged", "progress_bar"):
        assert getattr(here.job.board, kind) == getattr(there.job.board, kind)


def test_tensors_travel_on_the_cpu_and_without_gradients(tmp_path: Path) -> None:
    state = state_to_bring_home(fitted(tmp_path, Logs()))
    tensors = [*state["module"].values(), *state["metrics"][0].values()]
    assert all(one.device.type == "cpu" and not one.requires_grad for one in tensors)


def test_evaluation_brings_its_metrics_home_and_no_progress(tmp_path: Path) -> None:
    trainer = trainer_with(tmp_path)
    trainer.test(Net(), rows(), verbose=False)
    run = new_evaluation_run(trainer._job, LoaderSource("test", rows(), is_hook=False))
    state = state_to_bring_home(run)
    assert state["progress"] is None
    trainer._job.board.clear()
    come_home(run, state)
    assert set(trainer.callback_metrics) == {"test_loss"}
