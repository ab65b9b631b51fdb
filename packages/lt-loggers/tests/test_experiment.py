import pytest

from lt_interfaces.rank_zero import rank_zero_only
from lt_loggers import DummyExperiment, rank_zero_experiment


class Tracker:
    opened = 0

    @property
    @rank_zero_experiment
    def experiment(self) -> list[str]:
        self.opened += 1
        return ["real"]


def test_rank_zero_gets_the_experiment() -> None:
    assert Tracker().experiment == ["real"]


def test_other_ranks_get_a_dummy_and_open_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 3)
    tracker = Tracker()
    assert isinstance(tracker.experiment, DummyExperiment)
    assert tracker.opened == 0
