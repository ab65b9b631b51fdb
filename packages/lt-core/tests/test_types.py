"""Annotations with these types say what the loop really takes."""

import subprocess
import sys
from typing import Optional, get_type_hints

import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from lt_core import types
from lt_core.configured_optimizers import configured_optimizers
from lt_interfaces.scheduling import LRSchedulerConfig


def test_every_form_of_the_optimizer_dicts_is_taken() -> None:
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    scheduler: types.LRSchedulerConfigType = {"scheduler": StepLR(optimizer, 1), "interval": "step", "frequency": 2}
    alone: types.OptimizerConfig = {"optimizer": optimizer}
    both: types.OptimizerLRSchedulerConfig = {"optimizer": optimizer, "lr_scheduler": scheduler}
    for returned in (optimizer, [optimizer], ([optimizer], [scheduler]), alone, both, [both]):
        configured = configured_optimizers(returned, automatic=True, overrides_scheduler_step=False)
        assert len(configured.optimizers) == 1


def test_keys_of_the_scheduler_dict_are_those_of_its_config() -> None:
    assert set(types.LRSchedulerConfigType.__annotations__) == set(LRSchedulerConfig.__dataclass_fields__)
    assert types.LRSchedulerConfigType.__required_keys__ == {"scheduler"}
    assert types.OptimizerLRSchedulerConfig.__optional_keys__ == {"monitor"}


def test_aliases_can_be_used_in_annotations_and_in_isinstance() -> None:
    def step(batch: types.TRAIN_DATALOADERS) -> Optional[types.STEP_OUTPUT]:  # noqa: UP045 (as users write it)
        return batch

    def optimizers() -> types.OptimizerLRScheduler:
        return None

    assert "return" in get_type_hints(step)
    assert "return" in get_type_hints(optimizers)
    plateau = ReduceLROnPlateau(torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1))
    assert isinstance(plateau, types.LRSchedulerTypeTuple)
    assert isinstance(plateau, types.LRSchedulerTypeUnion)


def test_the_package_doesnt_load_them() -> None:
    program = "import lt_core, sys; sys.exit('lt_core.types' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
