from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lt_core import LightningModule, Trainer
from lt_fabric import Fabric
from lt_interfaces.testing import PrecisionContract
from lt_precision.double import DoublePrecision
from lt_precision.half import HalfPrecision

FORMATS = {"64-true": torch.float64, "16-true": torch.float16, "bf16-true": torch.bfloat16}
BYTES_OF_32 = 4


class TestDouble(PrecisionContract):
    @pytest.fixture
    def precision(self) -> DoublePrecision:
        return DoublePrecision()


class TestHalf(PrecisionContract):
    tolerance = 1e-2

    @pytest.fixture
    def precision(self) -> HalfPrecision:
        return HalfPrecision("16-true")


class TestBrainHalf(PrecisionContract):
    tolerance = 5e-2

    @pytest.fixture
    def precision(self) -> HalfPrecision:
        return HalfPrecision("bf16-true")


class Net(LightningModule):
    """Notes the formats it meets."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))
        self.seen: list[torch.dtype] = []
        self.failure: BaseException | None = None

    def training_step(self, batch: Tensor) -> Tensor:
        self.seen += [batch.dtype, self.layer.weight.dtype, self.mean.dtype, torch.zeros(1).dtype]
        if self.failure is not None:
            raise self.failure
        loss: Tensor = self.layer(batch - self.mean).square().mean()
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(net: Net, precision: str) -> None:
    trainer = Trainer(
        accelerator="cpu",
        precision=precision,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(net, DataLoader(torch.ones(2, 3), batch_size=2))  # type: ignore[arg-type]  # a tensor is a dataset


@pytest.mark.parametrize("precision", FORMATS)
def test_weights_buffers_inputs_and_new_tensors_have_the_format(precision: str) -> None:
    net = Net()
    fit(net, precision)
    assert set(net.seen) == {FORMATS[precision]}
    assert net.count.dtype == torch.long


@pytest.mark.parametrize("failure", [ValueError("a step that fails"), KeyboardInterrupt()])
@pytest.mark.parametrize("precision", FORMATS)
def test_the_default_format_is_back_after_a_step_that_raises(precision: str, failure: BaseException) -> None:
    net = Net()
    net.failure = failure
    with pytest.raises((ValueError, SystemExit, KeyboardInterrupt)):
        fit(net, precision)
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("precision", ["16-true", "bf16-true"])
def test_half_precision_takes_half_the_bytes(precision: str) -> None:
    def size(module: nn.Module) -> int:
        return sum(one.numel() * one.element_size() for one in module.parameters())

    plain = nn.Sequential(nn.Linear(30, 40), nn.LayerNorm(40))
    numbers = sum(one.numel() for one in plain.parameters())
    assert size(plain) == BYTES_OF_32 * numbers
    assert size(HalfPrecision(precision).convert_module(plain)) == BYTES_OF_32 * numbers // 2


@pytest.mark.parametrize("precision", FORMATS)
def test_a_module_is_made_in_the_format_at_once(precision: str) -> None:
    with Fabric(accelerator="cpu", precision=precision).init_module():
        layer = nn.Linear(2, 2)
    assert layer.weight.dtype == FORMATS[precision]


@pytest.mark.parametrize("precision", FORMATS)
def test_fabric_gives_outputs_in_the_default_format(precision: str) -> None:
    module = Fabric(accelerator="cpu", precision=precision).setup(nn.Linear(2, 2))
    assert module.weight.dtype == FORMATS[precision]
    assert module(torch.ones(1, 2)).dtype == torch.float32


def test_complex_weights_stay_as_they_are() -> None:
    module = nn.Module()
    module.register_buffer("rotation", torch.zeros(2, dtype=torch.complex64))
    assert HalfPrecision("16-true").convert_module(module).rotation.dtype == torch.complex64


@pytest.mark.parametrize(("cls", "name"), [(DoublePrecision, "32-true"), (HalfPrecision, "64-true")])
def test_other_names_are_refused(cls: type, name: str) -> None:
    with pytest.raises(ValueError, match=f"not '{name}'"):
        cls(name)


def test_sharding_engines_are_told_the_format() -> None:
    dtypes = HalfPrecision("bf16-true").dtypes()
    assert (dtypes.param, dtypes.compute, dtypes.reduce, dtypes.buffer) == (torch.bfloat16,) * 4


def test_plain_files_go_from_one_format_to_another(tmp_path: Path) -> None:
    plain = nn.Linear(2, 2)
    half = HalfPrecision("bf16-true").convert_module(nn.Linear(2, 2))
    half.load_state_dict(plain.state_dict())
    assert half.weight.dtype == torch.bfloat16
    torch.testing.assert_close(half.weight.float(), plain.weight, rtol=1e-2, atol=1e-2)
