import os
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lt_interfaces.errors import MisconfigurationException
from lt_loggers.saved_checkpoints import NewCheckpoints, callback_settings


@dataclass
class Saves:
    """What loggers may know of a callback that saves checkpoints."""

    dirpath: Path
    save_top_k: int = 1
    monitor: str = "val_loss"
    best_model_path: str = ""
    last_model_path: str = ""
    best_model_score: float | None = None
    best_k_models: dict[str, float] = field(default_factory=dict)

    def save(self, name: str, *, score: float, at: int = 0) -> None:
        path = self.dirpath / name
        path.write_text("weights")
        os.utime(path, (at, at))
        self.best_k_models[str(path)] = score
        self.best_model_path = min(self.best_k_models, key=lambda path: self.best_k_models[path])
        self.best_model_score = self.best_k_models[self.best_model_path]


def names(checkpoints: list[Any]) -> list[str]:
    return [checkpoint.path.name for checkpoint in checkpoints]


def test_all_are_told_at_once_and_each_once(tmp_path: Path) -> None:
    callback, new = Saves(tmp_path), NewCheckpoints("all")
    callback.save("a.ckpt", score=0.5)
    assert names(new.at_once(callback)) == ["a.ckpt"]
    callback.save("b.ckpt", score=0.4)
    assert names(new.at_once(callback)) == ["b.ckpt"]
    assert new.at_once(callback) == []
    assert new.at_end() == []


def test_a_file_written_again_is_new(tmp_path: Path) -> None:
    callback, new = Saves(tmp_path), NewCheckpoints("all")
    for second in (1, 2):
        callback.save("last.ckpt", score=0.5, at=second)
        assert names(new.at_once(callback)) == ["last.ckpt"]


def test_without_all_those_that_are_left_are_told_at_the_end(tmp_path: Path) -> None:
    callback, new = Saves(tmp_path, save_top_k=2), NewCheckpoints(log_model=True)
    for at, (name, score) in enumerate([("a.ckpt", 0.5), ("b.ckpt", 0.3), ("c.ckpt", 0.4)]):
        callback.save(name, score=score, at=at)
        assert new.at_once(callback) == []
    (tmp_path / "a.ckpt").unlink()
    ending = [checkpoint for _, checkpoint in new.at_end()]
    assert [(one.path.name, one.score, one.aliases) for one in ending] == [
        ("b.ckpt", 0.3, ["latest", "best"]),
        ("c.ckpt", 0.4, ["latest"]),
    ]
    assert new.at_end() == []


def test_a_callback_that_keeps_all_has_each_told_at_once(tmp_path: Path) -> None:
    callback, new = Saves(tmp_path, save_top_k=-1), NewCheckpoints(log_model=True)
    callback.save("a.ckpt", score=0.5)
    assert names(new.at_once(callback)) == ["a.ckpt"]


def test_several_callbacks_are_heard(tmp_path: Path) -> None:
    new = NewCheckpoints(log_model=True)
    callbacks = [Saves(tmp_path), Saves(tmp_path)]
    for callback, name in zip(callbacks, ("a.ckpt", "b.ckpt"), strict=True):
        callback.save(name, score=0.5)
        new.at_once(callback)
    assert [(callback is callbacks[i], one.path.name) for i, (callback, one) in enumerate(new.at_end())] == [
        (True, "a.ckpt"),
        (True, "b.ckpt"),
    ]


def test_nothing_is_told_unless_asked_for(tmp_path: Path) -> None:
    callback, new = Saves(tmp_path), NewCheckpoints(log_model=False)
    callback.save("a.ckpt", score=0.5)
    assert new.at_once(callback) == new.at_end() == []


def test_checkpoints_elsewhere_are_left_there_with_a_warning(tmp_path: Path) -> None:
    callback = Saves(tmp_path, best_k_models={"s3://bucket/a.ckpt": 0.5})
    with pytest.warns(UserWarning, match="s3://bucket/a.ckpt isn't sent"):
        assert NewCheckpoints("all").at_once(callback) == []


def test_another_process_gets_no_callbacks(tmp_path: Path) -> None:
    new = NewCheckpoints(log_model=True)
    new.at_once(Saves(tmp_path))
    assert pickle.loads(pickle.dumps(new)).at_end() == []


def test_log_model_is_one_of_three() -> None:
    with pytest.raises(MisconfigurationException, match="`log_model` must be True, False or"):
        NewCheckpoints("best")  # type: ignore[arg-type]


def test_settings_are_those_that_the_callback_has(tmp_path: Path) -> None:
    assert callback_settings(Saves(tmp_path)) == {"monitor": "val_loss", "save_top_k": 1}
