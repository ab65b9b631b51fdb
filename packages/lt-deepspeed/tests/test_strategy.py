"""What's refused before anything is launched, with DeepSpeed or without."""

from typing import Any

import pytest
import torch

from lt_core import LightningModule, Trainer
from lt_deepspeed import DeepSpeedStrategy, convert_zero_checkpoint_to_fp32_state_dict, installation
from lt_deepspeed.window import EngineWindow
from lt_fabric import Fabric
from lt_fabric.cpu import CPUAccelerator
from lt_fabric.full_precision import FullPrecision
from lt_fabric.local_environment import LocalEnvironment
from lt_interfaces import Assembly, Capability, MisconfigurationException, Precision


class HalfPrecision(FullPrecision):
    """Stands for "16-mixed"."""

    @property
    def precision(self) -> str:
        return "16-mixed"


class Doubled(FullPrecision):
    """Stands for "64-true"."""

    @property
    def precision(self) -> str:
        return "64-true"


class Trains(LightningModule):
    """Has what a fit asks for."""

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        """Train on nothing."""

    def configure_optimizers(self) -> None:
        """Train nothing."""


def connect(precision: Precision | None = None, *, sync_batchnorm: bool = False) -> None:
    """Let a strategy take the parts of a run on two CPU devices."""
    devices = [torch.device("cpu")] * 2
    DeepSpeedStrategy().connect(
        Assembly(CPUAccelerator(), devices, 1, LocalEnvironment(), precision or FullPrecision(), sync_batchnorm)
    )


@pytest.fixture
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "find_spec", lambda _: True)


@pytest.fixture
def _missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "find_spec", lambda _: None)


@pytest.mark.usefixtures("_missing")
@pytest.mark.parametrize("door", [Trainer, Fabric])
def test_without_deepspeed_the_install_line_is_given_before_launching(door: Any) -> None:
    with pytest.raises(ImportError, match=r"pip install 'lt-deepspeed\[deepspeed\]'"):
        door(accelerator="cpu", devices=2, strategy="deepspeed_stage_3").fit(LightningModule(), [1])


@pytest.mark.usefixtures("_missing")
def test_consolidation_without_deepspeed_gives_the_install_line(tmp_path: Any) -> None:
    with pytest.raises(ImportError, match=r"convert_zero_checkpoint_to_fp32_state_dict.*pip install 'lt-deepspeed"):
        convert_zero_checkpoint_to_fp32_state_dict(tmp_path, tmp_path / "file")


@pytest.mark.usefixtures("_installed")
def test_fp16_on_the_cpu_is_refused_naming_both() -> None:
    with pytest.raises(MisconfigurationException, match=r"precision='16-mixed'.*accelerator='cpu'.*bf16-mixed"):
        connect(HalfPrecision())


@pytest.mark.usefixtures("_installed")
def test_batch_norm_over_ranks_is_refused() -> None:
    with pytest.raises(MisconfigurationException, match=r"sync_batchnorm=True.*convert_sync_batchnorm"):
        connect(sync_batchnorm=True)


def test_other_precisions_are_not_supported() -> None:
    assert DeepSpeedStrategy().supports(FullPrecision())
    assert not DeepSpeedStrategy().supports(Doubled())


@pytest.mark.parametrize(
    "capability",
    [
        Capability.SEVERAL_OPTIMIZERS,
        Capability.CLIP_BY_VALUE,
        Capability.SAVING_IN_WINDOW,
        Capability.WEIGHTED_LOSSES,
    ],
)
def test_what_an_engine_cannot_do_is_known_before_launching(capability: Capability) -> None:
    assert not DeepSpeedStrategy().supports(capability)


def test_ranks_evaluate_equally_many_batches_where_parameters_are_sharded() -> None:
    can = [DeepSpeedStrategy(stage=stage).supports(Capability.UNEVEN_EVALUATION) for stage in (1, 2, 3)]
    assert can == [True, True, False]


def test_manual_optimization_is_supported() -> None:
    assert DeepSpeedStrategy().supports(Capability.MANUAL_OPTIMIZATION)


def test_clipping_by_value_is_refused_with_the_way_out() -> None:
    with pytest.raises(MisconfigurationException, match=r"can't clip by value.*gradient_clip_algorithm='norm'"):
        DeepSpeedStrategy().clip_gradients([], clip_value=1.0)


@pytest.mark.usefixtures("_installed")
def test_padding_uneven_data_is_refused_before_launching() -> None:
    trainer = Trainer(
        accelerator="cpu", devices=2, strategy="deepspeed_stage_3", uneven_data="pad", max_epochs=1, logger=False
    )
    with pytest.raises(MisconfigurationException, match=r"uneven_data='pad'.*DeepSpeedStrategy can't weight losses"):
        trainer.fit(Trains(), [torch.zeros(1)])


def test_other_norms_are_refused() -> None:
    with pytest.raises(MisconfigurationException, match=r"`norm_type=1.0`"):
        DeepSpeedStrategy().clip_gradients([], max_norm=1.0, norm_type=1.0)


def test_weighted_losses_are_refused_with_the_way_out() -> None:
    window = EngineWindow(list)
    window.reopen(2)
    window.begin(is_last=False)
    with pytest.raises(MisconfigurationException, match=r"can't weight losses.*strategy='fsdp'"):
        window.add(torch.tensor(1.0), 3.0)


@pytest.mark.parametrize("says_so", [True, False])
def test_a_window_that_ends_early_is_refused(says_so: bool) -> None:
    window = EngineWindow(list)
    window.reopen(3)
    for number in range(2):
        window.begin(is_last=says_so and number == 1)
        window.add(torch.tensor(1.0))
    with pytest.raises(MisconfigurationException, match=r"planned 3 micro-batches.*but 2 came"):
        window.close()


def test_a_window_divides_by_its_length() -> None:
    window = EngineWindow(list)
    window.reopen(2)
    for number in range(2):
        window.begin(is_last=number == 1)
        assert window.add(torch.tensor(3.0)) == 1.5
    window.close()
    assert window.held == 2


def test_an_empty_window_closes_quietly() -> None:
    window = EngineWindow(list)
    window.reopen(2)
    window.close()


def test_checkpoints_are_files_unless_shards_are_asked_for() -> None:
    assert DeepSpeedStrategy().default_checkpoint_io in ("torch", "local")
    assert DeepSpeedStrategy(state_dict_type="sharded").default_checkpoint_io == "deepspeed"


def test_weights_are_loaded_where_the_engine_has_placed_them() -> None:
    assert DeepSpeedStrategy().restores_after_setup
