from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from gathering_ranks import gather_in_process

from lt_fabric.gathering import gather_objects
from lt_interfaces.testing.ranks import run_in_processes


def test_every_rank_gets_what_all_gave_in_rank_order_whatever_its_size() -> None:
    for gathered in run_in_processes(gather_in_process):
        first, second, paths = gathered
        assert (first["rank"], first["text"], first["part"].tolist()) == (0, "", [0])
        assert (second["rank"], second["text"], second["part"].tolist()) == (1, "é" * 1000, [0, 1])
        assert paths == [Path("/0"), Path("/1")]
        assert second["part"].untyped_storage().nbytes() == 16  # and not that of what it was cut out of


def test_one_process_gets_its_own_object_back_without_a_collective() -> None:
    own = {"anything": object()}
    alone = SimpleNamespace(world_size=1, root_device=torch.device("cpu"), all_gather=None)
    assert gather_objects(alone, own)[0] is own


def test_what_no_checkpoint_can_hold_is_refused_by_name() -> None:
    several = SimpleNamespace(world_size=2, root_device=torch.device("cpu"), all_gather=None)
    with pytest.raises(TypeError, match=r"gathered object.*losses"):
        gather_objects(several, {"losses": object()})
