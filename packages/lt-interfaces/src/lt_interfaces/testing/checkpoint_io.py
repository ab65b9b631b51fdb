"""What every checkpoint IO promises."""

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from lt_interfaces.checkpoint_io import CheckpointIO, CheckpointTraits


class Touch:
    """Leaves a file where it's unpickled: stands for code in a hostile checkpoint."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (str(self.path), "w")


class _LikeDTensor(torch.Tensor):
    """Has what tells a DTensor from other tensors; a real one needs a process group."""

    device_mesh = placements = ()


class CheckpointIOContract:
    """Subclass it and override `checkpoint_io`."""

    @pytest.fixture
    def checkpoint_io(self) -> CheckpointIO:
        """Return the checkpoint IO to check."""
        raise NotImplementedError

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        """Return where the checkpoint goes, in a folder that isn't there yet."""
        return tmp_path / "run" / "last.ckpt"

    def test_says_what_it_is(self, checkpoint_io: CheckpointIO) -> None:
        assert isinstance(checkpoint_io.traits, CheckpointTraits)

    def test_loads_what_was_saved(self, checkpoint_io: CheckpointIO, path: Path) -> None:
        checkpoint_io.poll()
        save(checkpoint_io, {"epoch": 3, "state_dict": {"weight": torch.arange(4.0)}}, path)
        checkpoint_io.poll()  # a save that went well leaves nothing to raise
        loaded = checkpoint_io.load_checkpoint(path)
        assert loaded["epoch"] == 3
        assert torch.equal(loaded["state_dict"]["weight"], torch.arange(4.0))

    def test_takes_paths_as_strings(self, checkpoint_io: CheckpointIO, path: Path) -> None:
        save(checkpoint_io, {"state_dict": {"weight": torch.ones(1)}}, str(path))
        assert "state_dict" in checkpoint_io.load_checkpoint(str(path))

    def test_loads_to_the_cpu_unless_told_otherwise(self, checkpoint_io: CheckpointIO, path: Path) -> None:
        save(checkpoint_io, {"state_dict": {"weight": torch.ones(1)}}, path)
        assert checkpoint_io.load_checkpoint(path)["state_dict"]["weight"].device.type == "cpu"

    def test_the_latest_save_wins(self, checkpoint_io: CheckpointIO, path: Path) -> None:
        for epoch in (1, 2):
            save(checkpoint_io, {"epoch": epoch, "state_dict": {"weight": torch.ones(1)}}, path)
        assert checkpoint_io.load_checkpoint(path)["epoch"] == 2

    def test_a_failing_save_leaves_the_previous_checkpoint_whole(self, checkpoint_io: CheckpointIO, path: Path) -> None:
        save(checkpoint_io, {"epoch": 1, "state_dict": {"weight": torch.ones(1)}}, path)
        with pytest.raises(Exception, match=r"pickle|local"):
            save(checkpoint_io, {"epoch": 2, "state_dict": {"weight": lambda: None}}, path)
        assert checkpoint_io.load_checkpoint(path)["epoch"] == 1

    def test_a_missing_checkpoint_is_named(self, checkpoint_io: CheckpointIO, path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=path.name):
            checkpoint_io.load_checkpoint(path)
        with pytest.raises(FileNotFoundError, match=path.name):
            checkpoint_io.load_placed(path, lambda place, like: None)

    def test_a_placed_load_is_whole_and_places_what_it_asked_for(self, checkpoint_io: CheckpointIO, path: Path) -> None:
        saved = {"epoch": 3, "state_dict": {"weight": torch.arange(4.0), "bias": torch.ones(())}}
        save(checkpoint_io, saved, path)
        given = {"weight": torch.zeros(4), "bias": None}
        asked: dict[Any, torch.Tensor | None] = {}

        def placement(place: Any, like: torch.Tensor) -> torch.Tensor | None:
            assert like.device.type == "meta"
            assert like.size() == saved["state_dict"][place[1]].size()  # type: ignore[index]
            assert not torch.any(given["weight"]), "a tensor was changed before all were asked for"  # type: ignore[arg-type]
            asked[place] = given[place[1]]
            return asked[place]

        loaded = checkpoint_io.load_placed(path, placement)
        assert loaded["epoch"] == 3
        for name, tensor in saved["state_dict"].items():  # type: ignore[attr-defined]
            assert torch.equal(loaded["state_dict"][name], tensor)
        assert asked.keys() in (set(), {("state_dict", "weight"), ("state_dict", "bias")})
        assert all(loaded["state_dict"][name] is tensor for (_, name), tensor in asked.items() if tensor is not None)

    def test_writing_alone_it_refuses_sharded_tensors_before_anything_is_written(
        self, checkpoint_io: CheckpointIO, path: Path
    ) -> None:
        if checkpoint_io.traits.sharded:
            return  # it takes real ones, from all ranks
        with pytest.raises(TypeError, match=r"state_dict\.weight"):
            checkpoint_io.save_checkpoint({"state_dict": {"weight": _LikeDTensor()}}, path)
        assert checkpoint_io.stored(path.parent) == []

    @pytest.mark.parametrize("weights_only", [None, True])
    def test_never_runs_code_from_a_file_unasked(
        self, checkpoint_io: CheckpointIO, tmp_path: Path, weights_only: bool | None
    ) -> None:
        path, trace = tmp_path / "hostile.ckpt", tmp_path / "was_here"
        torch.save({"epoch": 1, "callbacks": Touch(trace)}, path)
        with pytest.raises(Exception, match=r"weights_only|checkpoint"):
            checkpoint_io.load_checkpoint(path, weights_only=weights_only)
        assert not trace.exists()

    def test_removes_a_checkpoint(self, checkpoint_io: CheckpointIO, path: Path) -> None:
        save(checkpoint_io, {"state_dict": {"weight": torch.ones(1)}}, path)
        checkpoint_io.remove_checkpoint(path)
        checkpoint_io.teardown()
        assert not path.exists()

    def test_finds_what_is_stored_in_a_folder(self, checkpoint_io: CheckpointIO, path: Path) -> None:
        assert checkpoint_io.stored(path.parent) == []
        save(checkpoint_io, {"state_dict": {"weight": torch.ones(1)}}, path)
        (found,) = checkpoint_io.stored(str(path.parent))
        assert found.path == str(path)
        assert abs(found.modified_seconds - time.time()) < 3600

    def test_tells_a_whole_checkpoint_from_a_torn_one(self, checkpoint_io: CheckpointIO, path: Path) -> None:
        assert not checkpoint_io.is_whole(path)
        save(checkpoint_io, {"state_dict": {"weight": torch.ones(1000)}}, path)
        assert checkpoint_io.is_whole(path)
        torn = path.with_name("torn.ckpt")
        torn.write_bytes(b"")
        assert not checkpoint_io.is_whole(torn)

    def test_removing_nothing_is_quiet(self, checkpoint_io: CheckpointIO, path: Path) -> None:
        checkpoint_io.remove_checkpoint(path)

    def test_nothing_is_left_beside_a_checkpoint(self, checkpoint_io: CheckpointIO, path: Path) -> None:
        save(checkpoint_io, {"state_dict": {"weight": torch.ones(1)}}, path)
        assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def save(checkpoint_io: CheckpointIO, checkpoint: dict[str, Any], path: str | Path) -> None:
    """Save and wait until it's committed; what goes wrong is raised here."""
    checkpoint_io.save_checkpoint(checkpoint, path)
    checkpoint_io.teardown()
