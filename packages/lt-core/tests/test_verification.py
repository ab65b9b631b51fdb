from pathlib import Path
from typing import Any

import pytest
from tiny_runs import ManualNet, Net, rows, trainer_with
from torch import Tensor, nn

from lt_core import LightningModule, Trainer
from lt_fabric.full_precision import FullPrecision
from lt_fabric.single_device import SingleDeviceStrategy
from lt_interfaces import PrecisionDtypes
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.strategy import Capability


class Bare(LightningModule):
    """Nothing but a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)


class OnlyTrains(Bare):
    def training_step(self, batch: Tensor) -> Tensor:
        return self.layer(batch).mean()

    def configure_optimizers(self) -> Any:
        return None


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return trainer_with(tmp_path)


def test_fitting_needs_a_training_step(trainer: Trainer) -> None:
    with pytest.raises(MisconfigurationException, match=r"`Trainer\.fit\(\)` needs `Bare\.training_step"):
        trainer.fit(Bare(), rows())


def test_fitting_needs_optimizers(trainer: Trainer) -> None:
    class NoOptimizer(Bare):
        def training_step(self, batch: Tensor) -> Tensor:
            return batch

    with pytest.raises(MisconfigurationException, match=r"needs `NoOptimizer\.configure_optimizers\(self\)`"):
        trainer.fit(NoOptimizer(), rows())


@pytest.mark.parametrize("fn", ["fit", "validate", "test", "predict"])
def test_every_entry_point_needs_data(trainer: Trainer, fn: str) -> None:
    with pytest.raises(MisconfigurationException, match=r"data"):
        getattr(trainer, fn)(Net())


@pytest.mark.parametrize(("fn", "step"), [("validate", "validation_step"), ("test", "test_step")])
def test_evaluating_needs_its_step(trainer: Trainer, fn: str, step: str) -> None:
    with pytest.raises(MisconfigurationException, match=rf"`Trainer\.{fn}\(\)` needs `Bare\.{step}"):
        getattr(trainer, fn)(Bare(), rows())


def test_predicting_needs_a_step_or_forward(trainer: Trainer) -> None:
    with pytest.raises(MisconfigurationException, match="`predict_step` or `forward`"):
        trainer.predict(Bare(), rows())

    class WithForward(Bare):
        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)

    predictions = trainer.predict(WithForward(), rows(2))
    assert predictions is not None
    assert len(predictions) == 2


def test_predicting_with_the_step_set_to_none_is_refused(trainer: Trainer) -> None:
    module: Any = Net()
    module.predict_step = None
    with pytest.raises(MisconfigurationException, match="`predict_step` or `forward`"):
        trainer.predict(module, rows())


@pytest.mark.filterwarnings("ignore:.*configure_optimizers.*returned None:UserWarning")
def test_half_a_validation_is_skipped_with_a_warning(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="no `validation_step`: validation is skipped"):
        trainer_with(tmp_path).fit(OnlyTrains(), rows(1), rows(1))
    with pytest.warns(UserWarning, match="no validation data: validation is skipped"):
        trainer_with(tmp_path).fit(Net(), rows(1))


def test_a_validation_step_set_to_none_is_none(tmp_path: Path) -> None:
    module: Any = Net()
    module.validation_step = None
    trainer_with(tmp_path).fit(module, rows(1))


def test_training_steps_of_lightning_one_are_refused(trainer: Trainer) -> None:
    class Old(OnlyTrains):
        def training_step(self, batch: Tensor, batch_idx: int, optimizer_idx: int) -> Tensor:  # type: ignore[override]
            return batch

    with pytest.raises(RuntimeError, match="can't take `optimizer_idx`"):
        trainer.fit(Old(), rows())


@pytest.mark.parametrize(
    ("arguments", "way_out"),
    [
        ({"gradient_clip_val": 1.0}, r"Trainer\(gradient_clip_val=1\.0\).*clip_gradients"),
        ({"accumulate_grad_batches": 2}, r"Trainer\(accumulate_grad_batches=2\).*your own count"),
    ],
)
def test_manual_optimization_excludes_arguments_of_the_automatic_one(
    tmp_path: Path, arguments: dict[str, Any], way_out: str
) -> None:
    with pytest.raises(MisconfigurationException, match=way_out):
        trainer_with(tmp_path, **arguments).fit(ManualNet(), rows())


class SeveralRanks(SingleDeviceStrategy):
    """Says that there are two ranks."""

    world_size = property(lambda self: 2)  # type: ignore[assignment]  # a property there, too


class TakesIterator(OnlyTrains):
    def training_step(self, dataloader_iter: Any) -> Tensor:  # type: ignore[override]
        return super().training_step(next(dataloader_iter)[0])


@pytest.mark.parametrize(
    ("module", "own"), [(ManualNet, "automatic_optimization = False"), (TakesIterator, "takes `dataloader_iter`")]
)
def test_padding_is_refused_where_nobody_knows_what_a_batch_counts_for(
    tmp_path: Path, module: type[LightningModule], own: str
) -> None:
    trainer = trainer_with(tmp_path, uneven_data="pad", limit_val_batches=0, strategy=SeveralRanks("cpu"))
    with pytest.raises(MisconfigurationException, match=rf"`Trainer\(uneven_data='pad'\)` can't go with .*{own}"):
        trainer.fit(module(), rows())


class WithoutWeights(SeveralRanks):
    """Can't weight losses."""

    def supports(self, part: Any) -> bool:
        return part is not Capability.WEIGHTED_LOSSES and super().supports(part)


def test_padding_is_refused_where_the_strategy_cannot_weight_losses(tmp_path: Path) -> None:
    trainer = trainer_with(tmp_path, uneven_data="pad", limit_val_batches=0, strategy=WithoutWeights("cpu"))
    with pytest.raises(MisconfigurationException, match=r"uneven_data='pad'.*WithoutWeights can't weight losses"):
        trainer.fit(Net(), rows())


def test_padding_is_nothing_to_one_process(tmp_path: Path) -> None:
    trainer_with(tmp_path, uneven_data="pad", limit_val_batches=0).fit(ManualNet(), rows())


def test_nothing_is_set_up_when_something_is_missing(trainer: Trainer) -> None:
    class Tells(Bare):
        def setup(self, stage: str) -> None:
            pytest.fail("set up")

    with pytest.raises(MisconfigurationException):
        trainer.fit(Tells(), rows())


def test_fitting_in_a_precision_that_only_infers_is_refused_before_anything_starts(tmp_path: Path) -> None:
    class Frozen(FullPrecision):
        precision = "int2-true"

        def dtypes(self) -> PrecisionDtypes:
            return PrecisionDtypes(is_trainable=False)

    with pytest.raises(MisconfigurationException, match=r"'int2-true'.* is for validating, testing and predicting"):
        trainer_with(tmp_path, plugins=[Frozen()], limit_val_batches=0).fit(Net(), rows())
    trainer_with(tmp_path, plugins=[Frozen()]).validate(Net(), rows(), verbose=False)
