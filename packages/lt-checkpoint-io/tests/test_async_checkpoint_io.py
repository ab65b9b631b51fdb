import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from store_places import StorePath

from lt_checkpoint_io import AsyncCheckpointIO, DistributedCheckpointIO, TorchCheckpointIO
from lt_interfaces import CheckpointIO, CheckpointTraits, StoredCheckpoint
from lt_interfaces.testing import CheckpointIOContract


class TestLocally(CheckpointIOContract):
    @pytest.fixture
    def checkpoint_io(self) -> Iterator[AsyncCheckpointIO]:
        checkpoint_io = AsyncCheckpointIO()
        yield checkpoint_io
        checkpoint_io.teardown()


class TestInS3(CheckpointIOContract):
    @pytest.fixture
    def checkpoint_io(self, s3_options_of_server: dict[str, Any]) -> Iterator[AsyncCheckpointIO]:
        checkpoint_io = AsyncCheckpointIO(TorchCheckpointIO(s3_options_of_server))
        yield checkpoint_io
        checkpoint_io.teardown()

    @pytest.fixture
    def path(self, s3_folder: StorePath) -> Any:
        return s3_folder.file("last.ckpt")

    def test_nothing_is_left_beside_a_checkpoint(self, checkpoint_io: CheckpointIO, path: Any) -> None:
        checkpoint_io.save_checkpoint({"state_dict": {"weight": torch.ones(1)}}, path)
        checkpoint_io.teardown()
        assert {entry.name for entry in path.parent.iterdir()} == {"last.ckpt", ".last.ckpt.manifest.json"}


class TestAroundShardedFolders(CheckpointIOContract):
    @pytest.fixture
    def checkpoint_io(self) -> Iterator[AsyncCheckpointIO]:
        checkpoint_io = AsyncCheckpointIO(DistributedCheckpointIO())
        yield checkpoint_io
        checkpoint_io.teardown()


class GatedCheckpointIO(CheckpointIO):
    """Writes when it's let, so that a test can look at what happens meanwhile."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.log: list[str] = []
        self._inner = TorchCheckpointIO()

    @property
    def traits(self) -> CheckpointTraits:
        return self._inner.traits

    def save_checkpoint(
        self, checkpoint: Mapping[str, Any], path: str | PathLike[str], storage_options: Any | None = None
    ) -> None:
        assert self.gate.wait(30)
        self._inner.save_checkpoint(checkpoint, path, storage_options)
        self.log.append(f"saved {Path(path).name}")

    def load_checkpoint(
        self, path: str | PathLike[str], map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return self._inner.load_checkpoint(path, map_location, weights_only)

    def remove_checkpoint(self, path: str | PathLike[str]) -> None:
        self._inner.remove_checkpoint(path)
        self.log.append(f"removed {Path(path).name}")

    def stored(self, folder: str | PathLike[str]) -> list[StoredCheckpoint]:
        return self._inner.stored(folder)

    def is_whole(self, path: str | PathLike[str]) -> bool:
        return self._inner.is_whole(path)

    def poll(self) -> None:
        self.log.append("polled")

    def teardown(self) -> None:
        self.log.append("torn down")


@pytest.fixture
def gated() -> Iterator[GatedCheckpointIO]:
    gated = GatedCheckpointIO()
    yield gated
    gated.gate.set()


def later(seconds: float, action: Any) -> threading.Timer:
    timer = threading.Timer(seconds, action)
    timer.start()
    return timer


def test_what_is_written_is_the_state_at_the_moment_of_the_call(gated: GatedCheckpointIO, tmp_path: Path) -> None:
    checkpoint_io = AsyncCheckpointIO(gated)
    model = torch.nn.Linear(30, 30)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 30)).sum().backward()
    optimizer.step()
    state = {"state_dict": model.state_dict(), "optimizer_states": [optimizer.state_dict()]}
    TorchCheckpointIO().save_checkpoint(state, tmp_path / "sync.ckpt")
    checkpoint_io.save_checkpoint(state, tmp_path / "async.ckpt")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
            optimizer.state[parameter]["exp_avg"].zero_()
    optimizer.param_groups[0]["lr"] = 100.0
    gated.gate.set()
    checkpoint_io.teardown()
    assert (tmp_path / "async.ckpt").stat().st_size == (tmp_path / "sync.ckpt").stat().st_size
    before, written = (TorchCheckpointIO().load_checkpoint(tmp_path / f"{name}.ckpt") for name in ("sync", "async"))
    assert str(before) == str(written)
    for name, weight in before["state_dict"].items():
        assert torch.equal(weight, written["state_dict"][name])


def test_a_save_returns_before_it_is_written_and_the_next_waits(gated: GatedCheckpointIO, tmp_path: Path) -> None:
    checkpoint_io = AsyncCheckpointIO(gated)
    checkpoint_io.save_checkpoint({}, tmp_path / "a.ckpt")
    assert gated.log == []
    later(0.2, gated.gate.set)
    checkpoint_io.save_checkpoint({}, tmp_path / "b.ckpt")
    assert gated.log[0] == "saved a.ckpt"
    checkpoint_io.teardown()


def test_the_snapshot_is_taken_when_the_previous_save_is_over(gated: GatedCheckpointIO, tmp_path: Path) -> None:
    checkpoint_io = AsyncCheckpointIO(gated)
    weight = torch.zeros(1)
    checkpoint_io.save_checkpoint({"weight": weight}, tmp_path / "a.ckpt")
    later(0.2, lambda: (weight.fill_(7.0), gated.gate.set()))
    checkpoint_io.save_checkpoint({"weight": weight}, tmp_path / "b.ckpt")
    assert checkpoint_io.load_checkpoint(tmp_path / "b.ckpt") == {"weight": torch.tensor([7.0])}
    checkpoint_io.teardown()


def test_a_removal_is_done_after_pending_saves_without_waiting(gated: GatedCheckpointIO, tmp_path: Path) -> None:
    checkpoint_io = AsyncCheckpointIO(gated)
    (tmp_path / "old.ckpt").touch()
    checkpoint_io.save_checkpoint({}, tmp_path / "new.ckpt")
    checkpoint_io.remove_checkpoint(tmp_path / "old.ckpt")
    assert (tmp_path / "old.ckpt").exists()
    gated.gate.set()
    checkpoint_io.teardown()
    assert gated.log == ["saved new.ckpt", "removed old.ckpt", "torn down"]


def test_nothing_is_removed_for_a_checkpoint_that_was_not_written(tmp_path: Path) -> None:
    checkpoint_io = AsyncCheckpointIO()
    checkpoint_io.save_checkpoint({}, tmp_path / "old.ckpt")
    checkpoint_io.save_checkpoint({"weight": lambda: None}, tmp_path / "new.ckpt")
    with pytest.raises(Exception, match=r"pickle|local"):
        checkpoint_io.remove_checkpoint(tmp_path / "old.ckpt"), checkpoint_io.teardown()
    assert checkpoint_io.is_whole(tmp_path / "old.ckpt")


@pytest.mark.parametrize("question", ["load", "stored", "is_whole"])
def test_questions_are_answered_when_pending_work_is_over(
    gated: GatedCheckpointIO, tmp_path: Path, question: str
) -> None:
    checkpoint_io = AsyncCheckpointIO(gated)
    path = tmp_path / "a.ckpt"
    checkpoint_io.save_checkpoint({"epoch": 1}, path)
    later(0.2, gated.gate.set)
    answers = {
        "load": lambda: checkpoint_io.load_checkpoint(path) == {"epoch": 1},
        "stored": lambda: [found.path for found in checkpoint_io.stored(tmp_path)] == [str(path)],
        "is_whole": lambda: checkpoint_io.is_whole(path),
    }
    assert answers[question]()
    checkpoint_io.teardown()


def fail_in_background(tmp_path: Path) -> AsyncCheckpointIO:
    (tmp_path / "folder").mkdir()
    checkpoint_io = AsyncCheckpointIO()
    checkpoint_io.save_checkpoint({}, tmp_path / "folder")
    checkpoint_io.is_whole(tmp_path)  # waits, and raises nothing
    return checkpoint_io


@pytest.mark.parametrize("call", ["poll", "save", "load", "remove", "teardown"])
def test_a_failure_is_raised_by_whatever_comes_next_exactly_once(tmp_path: Path, call: str) -> None:
    checkpoint_io = fail_in_background(tmp_path)
    path = tmp_path / "other.ckpt"
    path.touch()
    calls = {
        "poll": checkpoint_io.poll,
        "save": lambda: checkpoint_io.save_checkpoint({}, path),
        "load": lambda: checkpoint_io.load_checkpoint(path),
        "remove": lambda: checkpoint_io.remove_checkpoint(path),
        "teardown": checkpoint_io.teardown,
    }
    with pytest.raises(IsADirectoryError, match="folder") as caught:
        calls[call]()
    assert "commit_file" in {entry.name for entry in caught.traceback}
    assert path.exists()
    checkpoint_io.poll()
    checkpoint_io.save_checkpoint({}, path)
    checkpoint_io.teardown()
    assert checkpoint_io.is_whole(path)


def test_polling_never_waits(gated: GatedCheckpointIO, tmp_path: Path) -> None:
    checkpoint_io = AsyncCheckpointIO(gated)
    checkpoint_io.save_checkpoint({}, tmp_path / "a.ckpt")
    checkpoint_io.poll()
    assert gated.log == ["polled"]
    gated.gate.set()
    checkpoint_io.teardown()


class LikeDTensor(torch.Tensor):
    device_mesh = placements = ()


def test_sharded_tensors_are_refused_at_once_where_rank_0_writes_alone(tmp_path: Path) -> None:
    checkpoint_io = AsyncCheckpointIO()
    with pytest.raises(TypeError, match=r"`state_dict\.weight` is sharded.*`DistributedCheckpointIO`"):
        checkpoint_io.save_checkpoint({"state_dict": {"weight": LikeDTensor()}}, tmp_path / "a.ckpt")
    checkpoint_io.teardown()
    assert list(tmp_path.iterdir()) == []


def test_it_works_for_a_second_fit(tmp_path: Path) -> None:
    checkpoint_io = AsyncCheckpointIO()
    threads = threading.active_count()
    for epoch in (1, 2):
        checkpoint_io.save_checkpoint({"epoch": epoch}, tmp_path / "last.ckpt")
        checkpoint_io.teardown()
        assert threading.active_count() == threads
        assert TorchCheckpointIO().load_checkpoint(tmp_path / "last.ckpt") == {"epoch": epoch}


def test_a_sharded_checkpoint_io_is_refused() -> None:
    class Sharded(GatedCheckpointIO):
        @property
        def traits(self) -> CheckpointTraits:
            return CheckpointTraits(sharded=True)

    with pytest.raises(ValueError, match=r"`checkpoint_io=Sharded` is sharded.*without `AsyncCheckpointIO`"):
        AsyncCheckpointIO(Sharded())


def test_it_is_as_remote_as_what_it_wraps() -> None:
    assert AsyncCheckpointIO().traits == CheckpointTraits(remote=True, asynchronous=True)


_SAVE_AND_EXIT = """
import sys
import torch
from lt_checkpoint_io import AsyncCheckpointIO, TorchCheckpointIO
options = eval(sys.argv[2])
checkpoint_io = AsyncCheckpointIO(TorchCheckpointIO(options))
checkpoint_io.save_checkpoint({"weight": torch.ones(5_000_000)}, sys.argv[1])
"""


def run_to_its_end(path: str, options: Mapping[str, Any]) -> None:
    command = [sys.executable, "-W", "error", "-c", _SAVE_AND_EXIT, path, repr(options)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_interpreter_does_not_exit_before_a_pending_save_is_written(tmp_path: Path) -> None:
    run_to_its_end(str(tmp_path / "a.ckpt"), {})
    assert TorchCheckpointIO().is_whole(tmp_path / "a.ckpt")


def test_the_interpreter_does_not_exit_before_a_pending_upload_is_done(
    s3_folder: StorePath, s3_options_of_server: dict[str, Any]
) -> None:
    endpoint = s3_options_of_server["endpoint_url"].replace("127.0.0.1", "localhost")  # a name to be resolved
    path = s3_folder.file("a.ckpt")
    run_to_its_end(str(path), {**s3_options_of_server, "endpoint_url": endpoint})
    assert TorchCheckpointIO(s3_options_of_server).is_whole(path)


def test_training_stalls_no_longer_than_the_copy_takes(gated: GatedCheckpointIO, tmp_path: Path) -> None:
    state = {f"weight{index}": torch.ones(5_000_000) for index in range(10)}  # 200 MB

    def seconds_of(action: Any) -> float:
        start = time.perf_counter()
        kept = action()
        seconds = time.perf_counter() - start
        del kept
        return seconds

    cloning = max(seconds_of(lambda: [tensor.clone() for tensor in state.values()]) for _ in range(3))
    checkpoint_io = AsyncCheckpointIO(gated)
    saving = seconds_of(lambda: checkpoint_io.save_checkpoint(state, tmp_path / "a.ckpt"))
    assert saving < 3 * cloning + 0.05, (saving, cloning)
    gated.gate.set()
    checkpoint_io.teardown()


class SavingMachine(RuleBasedStateMachine):
    """Saves, removals and questions in any order, against a plain model of what must be there."""

    names = st.sampled_from(["a.ckpt", "b.ckpt", "c.ckpt"])

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.checkpoint_io = AsyncCheckpointIO()
        self.expected: dict[str, int] = {}
        self.number = 0
        self.has_failed = False
        self.weight = torch.zeros(1)

    def path(self, name: str) -> Path:
        return Path(self.folder.name, name)

    def told(self, action: Any) -> bool:
        """Do something that raises a pending failure; say whether it did its work instead."""
        if self.has_failed:
            self.checkpoint_io.stored(self.folder.name)  # waits: which rules may follow mustn't depend on time
        try:
            action()
        except IsADirectoryError:
            assert self.has_failed
            self.has_failed = False
            return False
        return True

    @rule(name=names)
    def save(self, name: str) -> None:
        self.number += 1
        self.weight.fill_(self.number)
        did = self.told(lambda: self.checkpoint_io.save_checkpoint({"weight": self.weight}, self.path(name)))
        assert not self.has_failed
        if did:
            self.expected[name] = self.number

    @precondition(lambda self: not self.has_failed)
    @rule()
    def fail(self) -> None:
        self.checkpoint_io.save_checkpoint({}, self.folder.name)
        self.has_failed = True

    @rule(name=names)
    def remove(self, name: str) -> None:
        if self.told(lambda: self.checkpoint_io.remove_checkpoint(self.path(name))) and not self.has_failed:
            self.expected.pop(name, None)

    @rule()
    def poll(self) -> None:
        self.told(self.checkpoint_io.poll)

    @rule(name=names)
    def load(self, name: str) -> None:
        def look() -> None:
            if name not in self.expected:
                with pytest.raises(FileNotFoundError):
                    self.checkpoint_io.load_checkpoint(self.path(name))
            else:
                assert self.checkpoint_io.load_checkpoint(self.path(name))["weight"].item() == self.expected[name]

        self.told(look)
        assert not self.has_failed

    @rule()
    def look(self) -> None:
        stored = self.checkpoint_io.stored(self.folder.name)
        assert {Path(found.path).name for found in stored} == set(self.expected)

    @rule()
    def end(self) -> None:
        self.told(self.checkpoint_io.teardown)
        assert not self.has_failed

    @invariant()
    def later_changes_do_not_show(self) -> None:
        self.weight.fill_(-1.0)

    def teardown(self) -> None:
        self.told(self.checkpoint_io.teardown)
        self.folder.cleanup()


TestSavingMachine = SavingMachine.TestCase
TestSavingMachine.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
