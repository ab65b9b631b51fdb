from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lt_core import Callback, LightningModule, Trainer, seed_everything
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.logger import Logger
from lt_interfaces.strategy import Capability

QUIET: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "accelerator": "cpu",
}


class Network(LightningModule):
    """Everything that a trial could leave traces in: dropout, running statistics, moments."""

    def __init__(self, *, manual: bool = False) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))
        self.automatic_optimization = not manual
        self.losses: list[float] = []

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = self.layers(batch[0]).square().mean()
        self.losses.append(loss.item())
        self.log("loss", loss)
        if not self.automatic_optimization:
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.01)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)]

    def train_dataloader(self) -> Any:
        data = TensorDataset(torch.randn(12, 4, generator=torch.Generator().manual_seed(0)))
        return DataLoader(data, batch_size=3, shuffle=True)


class Trying(Callback):
    """Tries some steps when fitting starts."""

    def __init__(self, try_out: Callable[[Any], None]) -> None:
        self.try_out = try_out

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        self.try_out(trainer)


class Hearing(Callback):
    def __init__(self) -> None:
        self.batches = 0

    def on_train_batch_end(self, *_: Any) -> None:
        self.batches += 1


def trained(try_out: Callable[[Any], None] | None, make: Callable[[], Network] = Network, **arguments: Any) -> Network:
    seed_everything(3, verbose=False)
    module = make()
    callbacks = arguments.pop("callbacks", [])
    trainer = Trainer(
        max_epochs=2, callbacks=[*callbacks, *([Trying(try_out)] if try_out else [])], **{**QUIET, **arguments}
    )
    trainer.fit(module)
    return module


def five_steps(trainer: Any) -> None:
    with trainer.trial_run(5) as losses:
        assert len(list(losses)) == 5


def left_early(trainer: Any) -> None:
    with trainer.trial_run(50) as losses:
        for loss, group in zip(losses, trainer.optimizers[0].param_groups * 3, strict=False):
            group["lr"] = 10.0
            assert loss.ndim == 0


def failed(trainer: Any) -> None:
    def out_of_memory() -> None:
        with trainer.trial_run(3) as losses:
            next(losses)
            raise MemoryError

    with pytest.raises(MemoryError):
        out_of_memory()


@pytest.mark.parametrize("try_out", [five_steps, left_early, failed])
@pytest.mark.parametrize("manual", [False, True])
def test_training_after_a_trial_is_as_without_it_to_the_bit(try_out: Callable[[Any], None], manual: bool) -> None:
    make = partial(Network, manual=manual)
    plain, tried = trained(None, make), trained(try_out, make)
    assert tried.losses[-8:] == plain.losses
    for (name, value), (_, other) in zip(plain.state_dict().items(), tried.state_dict().items(), strict=True):
        assert torch.equal(value, other), name


def test_a_trial_gives_the_losses_that_training_would_have() -> None:
    seen: list[float] = []

    def try_out(trainer: Any) -> None:
        with trainer.trial_run(3) as losses:
            seen.extend(loss.item() for loss in losses)

    module = trained(try_out)
    assert seen == module.losses[:3] == module.losses[3:6]


def test_a_step_of_a_trial_is_an_optimizer_step() -> None:
    batches: list[int] = []

    def try_out(trainer: Any) -> None:
        with trainer.trial_run(2) as losses:
            for _ in losses:
                batches.append(len(trainer.lightning_module.losses))

    trained(try_out, accumulate_grad_batches=2)
    assert batches == [2, 4]


def test_a_trial_ends_though_its_steps_are_skipped() -> None:
    class Overflowing(Network):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            loss = super().training_step(batch, batch_idx)
            return loss * (inf if 1 < len(self.losses) < 4 else 1)

    def try_out(trainer: Any) -> None:
        with trainer.trial_run(3) as losses:
            assert [loss.isfinite().item() for loss in losses] == [True, False, False]
        assert trainer.skipped_steps == 0

    trained(try_out, Overflowing, precision="16-mixed")


def test_learning_rates_set_in_a_trial_are_used_and_taken_back() -> None:
    def distance_moved(lr: float) -> float:
        moved: list[float] = []

        def try_out(trainer: Any) -> None:
            weight = trainer.lightning_module.layers[0].weight
            before = weight.detach().clone()
            with trainer.trial_run(1) as losses:
                trainer.optimizers[0].param_groups[0]["lr"] = lr
                next(losses)
                moved.append((weight - before).abs().max().item())
            assert trainer.optimizers[0].param_groups[0]["lr"] == 0.01
            assert torch.equal(weight, before)

        trained(try_out)
        return moved[0]

    assert distance_moved(1.0) == pytest.approx(100 * distance_moved(0.01), rel=1e-3)


def test_nobody_hears_of_a_trial() -> None:
    hearing = Hearing()

    def try_out(trainer: Any) -> None:
        five_steps(trainer)
        assert hearing.batches == trainer.global_step == trainer.current_epoch == 0
        assert trainer.callback_metrics == {}
        assert trainer.training is False

    trained(try_out, callbacks=[hearing])
    assert hearing.batches == 8


def test_the_modules_own_calls_of_its_logger_go_nowhere() -> None:
    told: list[Any] = []

    class Telling(Logger):
        name, version = "telling", 0

        def log_metrics(self, metrics: Any, step: Any = None) -> None:
            told.append(metrics)

        def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None: ...

    class Talks(Network):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            if self.logger is not None:
                self.logger.log_metrics({"own": 1.0})
            return super().training_step(batch, batch_idx)

    logger = Telling()

    def try_out(trainer: Any) -> None:
        five_steps(trainer)
        assert told == []
        assert trainer.loggers == [logger]

    trained(try_out, Talks, logger=logger, log_every_n_steps=1)
    assert {"own": 1.0} in told


def test_loaders_are_asked_for_anew() -> None:
    class Counting(Network):
        asked = 0

        def train_dataloader(self) -> Any:
            self.asked += 1
            return super().train_dataloader()

    module = trained(five_steps, Counting)
    assert isinstance(module, Counting)
    assert module.asked == 2


def test_a_strategy_that_can_not_take_steps_back_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def try_out(trainer: Any) -> None:
        supports = trainer.strategy.supports
        monkeypatch.setattr(
            trainer.strategy, "supports", lambda part: part is not Capability.TRIAL_RUN and supports(part)
        )
        message = "`SingleDeviceStrategy` can't take optimizer steps back"
        with pytest.raises(MisconfigurationException, match=message), trainer.trial_run(1):
            pass

    trained(try_out)


def test_a_trial_outside_of_fitting_is_refused() -> None:
    with pytest.raises(RuntimeError, match="known once `fit` was called"), Trainer(**QUIET).trial_run(1):
        pass
