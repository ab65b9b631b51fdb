from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_parts import ToyCheckpointIO

from lt_interfaces.checkpoint_io import CheckpointIO, Placement
from lt_interfaces.testing import CheckpointIOContract


class TestToyCheckpointIO(CheckpointIOContract):
    @pytest.fixture
    def checkpoint_io(self) -> ToyCheckpointIO:
        return ToyCheckpointIO()


class Careless(ToyCheckpointIO):
    """Writes in place and unpickles whatever it finds."""

    def save_checkpoint(
        self, checkpoint: Mapping[str, Any], path: str | PathLike[str], storage_options: Any | None = None
    ) -> None:
        Path(path).parent.mkdir(exist_ok=True)
        torch.save(checkpoint, path)

    def load_checkpoint(
        self, path: str | PathLike[str], map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return dict(torch.load(path, weights_only=False))

    def load_placed(
        self, path: str | PathLike[str], placement: Placement, weights_only: bool | None = None
    ) -> dict[str, Any]:
        loaded = self.load_checkpoint(path)
        for name, tensor in loaded["state_dict"].items():
            place = placement(("state_dict", name), tensor.to("meta"))
            loaded["state_dict"][name] = tensor if place is None else place.copy_(tensor)
        return loaded


@pytest.fixture
def careless() -> CheckpointIO:
    return Careless()


def test_a_save_in_place_is_found_out(careless: CheckpointIO, tmp_path: Path) -> None:
    path = tmp_path / "run" / "last.ckpt"
    with pytest.raises(Exception, match="PytorchStreamReader"):
        CheckpointIOContract().test_a_failing_save_leaves_the_previous_checkpoint_whole(careless, path)


def test_a_placed_load_that_changes_tensors_before_all_were_asked_for_is_found_out(
    careless: CheckpointIO, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError, match="before all were asked for"):
        CheckpointIOContract().test_a_placed_load_is_whole_and_places_what_it_asked_for(careless, tmp_path / "a.ckpt")


def test_a_part_of_sharded_tensors_that_is_written_as_the_whole_is_found_out(
    careless: CheckpointIO, tmp_path: Path
) -> None:
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        CheckpointIOContract().test_writing_alone_it_refuses_sharded_tensors_before_anything_is_written(
            careless, tmp_path / "run" / "a.ckpt"
        )


# The file that hostile content opened is closed by nobody.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_unpickling_of_anything_is_found_out(careless: CheckpointIO, tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        CheckpointIOContract().test_never_runs_code_from_a_file_unasked(careless, tmp_path, None)
