from typing import Any

import torch
from torch import Tensor, nn

from lt_interfaces.hooks import BY_NAME, Kind
from lt_interfaces.step_module import StepModule

TORCHS_OWN = ("named_parameters", "named_modules", "modules", "parameters", "state_dict", "train")


class Smallest(nn.Module):
    automatic_optimization = True
    trainer: Any = None
    strict_loading = property(lambda self: True)
    hparams = property(lambda self: {})
    device = property(lambda self: torch.device("cpu"))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return torch.zeros(())

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        return None

    test_step = predict_step = validation_step

    def log(self, name: str, value: Any, **kwargs: Any) -> None:
        """Log nothing."""


def test_a_torch_module_with_steps_is_a_step_module() -> None:
    module = Smallest()
    for name in (*StepModule.__annotations__, *(name for name in vars(StepModule) if name[0] != "_")):
        assert hasattr(module, name)


def test_what_it_needs_of_torch_is_what_every_torch_module_has() -> None:
    assert all(hasattr(nn.Module, name) for name in TORCHS_OWN)


def test_each_step_of_the_contract_is_a_step_of_the_table() -> None:
    steps = [name for name in vars(StepModule) if name.endswith("_step")]
    assert steps == ["training_step", "validation_step", "test_step", "predict_step"]
    assert all(BY_NAME[name].kind is Kind.STEP for name in steps)
