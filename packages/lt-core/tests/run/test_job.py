from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import Net, fit, rows, trainer_with

from lt_core.run.job import RunLimits
from lt_interfaces.callback import Callback


def test_limits_are_open_unless_given() -> None:
    limits = RunLimits()
    assert (limits.max_epochs, limits.max_steps, limits.min_epochs, limits.min_steps) == (-1, -1, 0, 0)


def test_nobody_changes_limits_during_a_call() -> None:
    with pytest.raises(FrozenInstanceError):
        RunLimits().max_epochs = 3  # type: ignore[misc]


def test_limit_changed_while_it_runs_counts_for_the_next_fit(tmp_path: Path) -> None:
    class Raises(Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            trainer.fit_loop.max_epochs = 2

    trainer = fit(tmp_path, Net(), Raises())
    assert trainer.current_epoch == 1
    trainer.fit(Net(), rows())
    assert trainer.current_epoch == 2


def test_datamodule_of_an_earlier_call_takes_no_part_in_a_later_one(tmp_path: Path) -> None:
    class Data:
        calls: tuple[str, ...] = ()
        prepare_data_per_node = True

        def prepare_data(self) -> None:
            self.calls = (*self.calls, "prepare")

        def setup(self, stage: str) -> None:
            self.calls = (*self.calls, stage)

        def teardown(self, stage: str) -> None:
            self.calls = (*self.calls, f"end of {stage}")

        def train_dataloader(self) -> Any:
            return rows()

        def state_dict(self) -> dict[str, Any]:
            return {}

    data = Data()
    trainer = trainer_with(tmp_path, limit_val_batches=0)
    trainer.fit(Net(), datamodule=data)
    assert trainer.datamodule is data
    trainer.test(Net(), rows(1), verbose=False)
    assert trainer.datamodule is None
    assert data.calls == ("prepare", "fit", "end of fit")
