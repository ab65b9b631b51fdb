import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.utils.data import DataLoader

from lt_core import LightningModule, Trainer
from lt_fabric import Fabric
from lt_interfaces import MisconfigurationException
from lt_interfaces.testing import PrecisionContract
from lt_precision.mixed import MixedPrecision


class TestFloat16(PrecisionContract):
    tolerance = 1e-2

    @pytest.fixture
    def precision(self) -> MixedPrecision:
        return MixedPrecision("16-mixed", torch.device("cpu"))


class TestBrainFloat16(PrecisionContract):
    tolerance = 5e-2

    @pytest.fixture
    def precision(self) -> MixedPrecision:
        return MixedPrecision("bf16-mixed", torch.device("cpu"))


class Round:
    """Two layers with an optimizer each, trained by hand."""

    def __init__(self, scaler: GradScaler | None = None) -> None:
        torch.manual_seed(0)
        self.precision = MixedPrecision(
            "16-mixed", "cpu", scaler or GradScaler("cpu", init_scale=1024.0, growth_interval=3)
        )
        self.layers = [nn.Linear(2, 1), nn.Linear(2, 1)]
        self.optimizers = [torch.optim.SGD(layer.parameters(), lr=0.1) for layer in self.layers]

    def loss(self, idx: int, *, factor: float = 1.0) -> Tensor:
        with self.precision.forward_context():
            return self.layers[idx](torch.ones(3, 2)).float().square().mean() * factor

    def backward(self, idx: int, *, factor: float = 1.0) -> None:
        self.precision.backward(self.loss(idx, factor=factor), Tensor.backward)

    def step(self, idx: int) -> None:
        self.precision.optimizer_step(self.optimizers[idx], lambda: None, lambda _: None)

    def weights(self, idx: int) -> Tensor:
        return nn.utils.parameters_to_vector(self.layers[idx].parameters()).detach().clone()

    @property
    def scale(self) -> float:
        scaler = self.precision.scaler
        assert scaler is not None
        return scaler.get_scale()


# --- arithmetic ---


@pytest.mark.parametrize(("name", "dtype"), [("16-mixed", torch.float16), ("bf16-mixed", torch.bfloat16)])
def test_arithmetic_is_in_16_bits_on_a_cpu_too_and_weights_stay_in_32(name: str, dtype: torch.dtype) -> None:
    precision = MixedPrecision(name, torch.device("cpu"))
    layer = precision.convert_module(nn.Linear(2, 2))
    with precision.forward_context():
        output = layer(torch.ones(1, 2))
    assert output.dtype == dtype
    assert layer.weight.dtype == torch.float32


def test_inputs_come_in_32_bits() -> None:
    converted = MixedPrecision("bf16-mixed", "cpu").convert_input(
        [torch.ones(1, dtype=torch.float64), torch.ones(1).int()]
    )
    assert [one.dtype for one in converted] == [torch.float32, torch.int32]


def test_sharding_engines_reduce_in_32_bits() -> None:
    dtypes = MixedPrecision("bf16-mixed", "cpu").dtypes()
    assert (dtypes.param, dtypes.compute, dtypes.reduce) == (None, torch.bfloat16, torch.float32)
    assert not dtypes.scales_loss
    assert MixedPrecision("16-mixed", "cpu").dtypes().scales_loss


def test_a_forward_without_grad_leaves_the_next_one_its_gradients() -> None:
    class Looks(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 1)

        def training_step(self, batch: Tensor) -> Tensor:
            with torch.no_grad():
                self.layer(batch)
            loss: Tensor = self.layer(batch).square().mean()
            return loss

        def on_after_backward(self) -> None:
            assert self.layer.weight.grad is not None
            assert self.layer.weight.grad.abs().sum() > 0

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    quiet_trainer("bf16-mixed").fit(Looks(), rows())


def test_manual_steps_compute_with_the_weights_they_have_just_updated() -> None:
    class Twice(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False
            self.layer = nn.Linear(3, 1)
            self.losses: list[float] = []

        def training_step(self, batch: Tensor) -> None:
            optimizer: Any = self.optimizers()
            for _ in range(2):
                loss = self.layer(batch).float().square().mean()
                self.losses.append(loss.item())
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    net = Twice()
    quiet_trainer("bf16-mixed").fit(net, rows())
    assert len(set(net.losses)) == len(net.losses)


# --- the scale ---


def by_hand(factors: Sequence[float]) -> tuple[Tensor, float, list[bool]]:
    """Return weights, scale and which steps were skipped after torch's own recipe."""
    torch.manual_seed(0)
    layer, scaler = nn.Linear(2, 1), GradScaler("cpu", init_scale=1024.0, growth_interval=3)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    skipped = []
    for factor in factors:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.float16):
            loss = layer(torch.ones(3, 2)).float().square().mean() * factor
        torch.autograd.backward(scaler.scale(loss))
        before = scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        skipped.append(scaler.get_scale() < before)
    return nn.utils.parameters_to_vector(layer.parameters()).detach(), scaler.get_scale(), skipped


@settings(deadline=None, max_examples=30)
@given(factors=st.lists(st.sampled_from([1.0, 0.1, float("inf"), float("nan")]), min_size=1, max_size=12))
def test_weights_and_scale_are_those_of_torchs_recipe(factors: list[float]) -> None:
    expected, scale, skipped = by_hand(factors)
    own, found = Round(), []
    for factor in factors:
        own.optimizers[0].zero_grad()
        own.precision.optimizer_step(
            own.optimizers[0], lambda factor=factor: own.backward(0, factor=factor), lambda _: None
        )
        found.append(own.precision.step_was_skipped)
    assert torch.equal(own.weights(0), expected)
    assert (own.scale, found) == (scale, skipped)


def test_gradients_of_one_round_are_divided_by_one_scale() -> None:
    own, alone = Round(), Round()
    alone.backward(1)
    alone.step(1)
    before = own.weights(0)
    own.backward(0, factor=float("inf"))
    own.backward(1)
    own.step(0)
    assert own.precision.step_was_skipped
    own.step(1)
    assert not own.precision.step_was_skipped
    assert torch.equal(own.weights(0), before)
    assert torch.equal(own.weights(1), alone.weights(1))
    assert own.scale == alone.scale / 2


def test_gradients_are_unscaled_once_however_often_it_is_asked_for() -> None:
    own = Round()
    own.backward(0)
    own.precision.unscale_gradients(own.optimizers[0])
    once = own.layers[0].weight.grad.clone()
    own.precision.unscale_gradients(own.optimizers[0])
    assert torch.equal(own.layers[0].weight.grad, once)
    own.step(0)
    assert torch.equal(own.layers[0].weight.grad, once)


def test_a_step_that_raises_leaves_the_scale_as_it_was_and_the_next_one_works() -> None:
    own = Round()
    before = own.scale

    def fail(_: Any) -> None:
        message = "a hook that fails"
        raise KeyError(message)

    own.backward(0)
    with pytest.raises(KeyError):
        own.precision.optimizer_step(own.optimizers[0], lambda: None, fail)
    own.optimizers[0].zero_grad()
    own.backward(0)
    own.step(0)
    assert own.scale == before
    assert not own.precision.step_was_skipped


def test_an_optimizer_without_gradients_steps_as_it_would() -> None:
    own = Round()
    own.backward(0)
    own.step(1)
    assert not own.precision.step_was_skipped
    own.step(0)


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD])
def test_fused_optimizers_are_unscaled_clipped_and_skipped_too(kind: Any) -> None:
    own = Round()
    own.optimizers[0] = kind(own.layers[0].parameters(), lr=0.1, fused=True)
    norms = []
    for factor in (1.0, float("inf"), 1.0):
        before = own.weights(0)
        own.backward(0, factor=factor)
        own.precision.optimizer_step(
            own.optimizers[0],
            lambda: None,
            lambda optimizer: norms.append(nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 0.5).item()),
        )
        assert own.precision.step_was_skipped is (factor != 1.0)
        assert torch.equal(before, own.weights(0)) is (factor != 1.0)
        own.optimizers[0].zero_grad()
    assert norms[0] < 100  # not of scaled gradients


def test_state_goes_on_in_another_precision_and_loads_without_pickle() -> None:
    own, other = Round(), Round()
    own.backward(0, factor=float("inf"))
    own.step(0)
    file = io.BytesIO()
    torch.save(own.precision.state_dict(), file)
    file.seek(0)
    other.precision.load_state_dict(torch.load(file, weights_only=True))
    assert other.scale == own.scale == Round().scale / 2


# --- what's refused ---


def test_a_scaler_without_float16_is_refused_with_the_way_out() -> None:
    with pytest.raises(MisconfigurationException, match=r"`scaler` must be left out .*'bf16-mixed'.*'16-mixed'"):
        MixedPrecision("bf16-mixed", "cpu", GradScaler("cpu"))


def test_optimizers_that_evaluate_their_closure_again_are_refused() -> None:
    own = Round()
    optimizer = torch.optim.LBFGS(own.layers[0].parameters())
    with pytest.raises(MisconfigurationException, match="doesn't work with LBFGS"):
        own.precision.optimizer_step(optimizer, lambda: own.backward(0), lambda _: None)


def test_gradients_that_were_not_made_through_the_precision_are_refused() -> None:
    own = Round()
    own.loss(0).backward()
    with pytest.raises(RuntimeError, match=r"weren't made from a scaled loss"):
        own.step(0)


def test_weights_in_float16_are_refused() -> None:
    own = Round()
    own.layers[0].half()
    own.precision.backward(own.layers[0](torch.ones(3, 2).half()).float().mean(), Tensor.backward)
    with pytest.raises(MisconfigurationException, match="'16-true'"):
        own.step(0)


def test_other_names_are_refused() -> None:
    with pytest.raises(ValueError, match="not '32-true'"):
        MixedPrecision("32-true", "cpu")


# --- in runs ---


def rows() -> DataLoader[Tensor]:
    data = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    return DataLoader(data, batch_size=2)  # type: ignore[arg-type]  # a tensor is a dataset


def quiet_trainer(precision: str, **arguments: Any) -> Trainer:
    return Trainer(
        accelerator="cpu",
        precision=precision,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **arguments,
    )


class Net(LightningModule):
    """May fail in the middle of its step."""

    def __init__(self, failure: BaseException | None = None) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)
        self.failure = failure

    def training_step(self, batch: Tensor) -> Tensor:
        assert torch.is_autocast_enabled("cpu")
        if self.failure is not None:
            raise self.failure
        loss: Tensor = self.layer(batch).square().mean()
        return loss

    def on_before_backward(self, loss: Tensor) -> None:
        assert not torch.is_autocast_enabled("cpu")

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("failure", [None, ValueError("a step that fails"), KeyboardInterrupt()])
@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed"])
def test_autocast_is_for_the_step_alone_and_ends_with_it(precision: str, failure: BaseException | None) -> None:
    if failure is None:
        quiet_trainer(precision).fit(Net(), rows())
    else:
        with pytest.raises((ValueError, SystemExit, KeyboardInterrupt)):
            quiet_trainer(precision).fit(Net(failure), rows())
    assert not torch.is_autocast_enabled("cpu")


def test_clipping_means_the_unscaled_gradients(tmp_path: Path) -> None:
    plain, scaled = Net(), Net()
    scaled.load_state_dict(plain.state_dict())
    for net, precision in ((plain, "bf16-mixed"), (scaled, "16-mixed")):
        trainer = quiet_trainer(precision, gradient_clip_val=0.01)
        trainer.fit(net, rows())
    assert trainer.scaler.get_scale() > 1
    torch.testing.assert_close(plain.layer.weight, scaled.layer.weight, rtol=0, atol=2e-3)


def test_the_scale_is_in_the_checkpoint_under_the_key_that_lightning_uses(tmp_path: Path) -> None:
    trainer = quiet_trainer("16-mixed")
    trainer.fit(Net(), rows())
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    saved = torch.load(tmp_path / "run.ckpt", weights_only=True)
    assert saved["MixedPrecision"]["scale"] == trainer.scaler.get_scale()


def test_fabric_scales_clips_and_skips_alike() -> None:
    precision = MixedPrecision("16-mixed", "cpu", GradScaler("cpu", init_scale=256.0))
    fabric = Fabric(accelerator="cpu", plugins=[precision])
    layer = nn.Linear(3, 1)
    module, optimizer = fabric.setup(layer, torch.optim.SGD(layer.parameters(), lr=0.1))
    for factor, is_skipped in ((1.0, False), (float("inf"), True), (1.0, False)):
        before = module.weight.detach().clone()
        fabric.backward(module(torch.ones(2, 3)).mean() * factor, weight=2)
        fabric.clip_gradients(module, optimizer, max_norm=1.0, error_if_nonfinite=False)
        optimizer.step()
        optimizer.zero_grad()
        assert torch.equal(before, module.weight) is is_skipped
        assert fabric.strategy.step_was_skipped is is_skipped
