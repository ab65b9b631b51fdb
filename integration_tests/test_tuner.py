"""Settings are found before training, and training is as if they had been there from the start."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from tuned_nets import QUIET, SEARCH, Linear, Network, fitted, rows, search_on_rank

from lt_callbacks import BatchSizeFinder, LearningRateFinder, ModelCheckpoint, Tuner
from lt_core import Trainer, seed_everything
from lt_datamodules import LightningDataModule
from lt_interfaces.callback import Callback
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.testing.ranks import run_in_processes
from lt_loggers import CSVLogger

Fitted = tuple[list[float], dict[str, Tensor]]

# What Lightning 2.6.6 came to with `Linear` and `rows`: the suggestion, how many steps, the first and last losses.
OBSERVED: list[tuple[dict[str, Any], float | None, int, list[float]]] = [
    (
        {"num_training": 20, "early_stop_threshold": None},
        *(0.01, 20, [0.6720758447743418, 1.2873538593551177, 2.6706023009218023, 4.181251408849835, 4.09357340036468]),
    ),
    ({"num_training": 20}, None, 4, [0.6720758447743418, 1.2873538593551177, 2.6706023009218023, 3.273309222796976]),
    (
        {"num_training": 20, "early_stop_threshold": None, "mode": "linear"},
        *(0.5500000045000001, 20),
        [0.6720758447743418, 1.2873538593551177, 2.4316852136854363, 0.9320725622981479, 1.9456623926289829],
    ),
    (
        {"num_training": 40, "early_stop_threshold": None, "min_lr": 1e-4, "max_lr": 10},
        *(0.007498942093324559, 40),
        [0.6720758447743418, 1.287285830111523, 2.6702354699394415, 673.9991876906419, 8656.064599100591],
    ),
]


@pytest.mark.parametrize(("arguments", "suggested", "steps", "losses"), OBSERVED)
@pytest.mark.filterwarnings("ignore:No learning rate can be suggested")
def test_losses_and_suggestion_are_those_of_lightning(
    arguments: dict[str, Any], suggested: float | None, steps: int, losses: list[float]
) -> None:
    net = Linear()
    search = Tuner(Trainer(max_epochs=5, **QUIET)).lr_find(net, rows(), **arguments)
    assert search is not None
    found = search.results["loss"]
    assert [*found[:3], *found[3:][-2:]] == pytest.approx(losses, rel=1e-5)
    assert len(found) == steps
    assert search.suggestion() == suggested
    assert net.lr == (suggested or 0.01)


def assert_equal(one: Fitted, other: Fitted) -> None:
    assert one[0] == other[0]
    for name, value in one[1].items():
        assert torch.equal(value, other[1][name]), name


@pytest.mark.parametrize("schedule", ["decay", "one cycle"])
def test_training_after_a_search_equals_training_with_the_rate_set_by_hand(schedule: str) -> None:
    seed_everything(3, verbose=False)
    tuned = Network(schedule=schedule)
    search = Tuner(Trainer(max_epochs=2, **QUIET)).lr_find(tuned, **SEARCH)
    assert search is not None
    rate = search.suggestion()
    assert rate is not None
    assert tuned.hparams.lr == rate != 0.05
    after = fitted(tuned)
    seed_everything(3, verbose=False)
    assert_equal(after, fitted(Network(lr=rate, schedule=schedule)))
    assert len(after[0]) == 16


def test_a_callback_that_searches_leaves_training_as_with_the_rate_set_by_hand() -> None:
    seed_everything(3, verbose=False)
    finder, called = LearningRateFinder(1e-4, 1, 30, early_stop_threshold=None), Network()
    after = fitted(called, finder)
    assert finder.found_rate == called.hparams.lr != 0.05
    seed_everything(3, verbose=False)
    assert_equal(after, fitted(Network(lr=called.hparams.lr)))


def test_a_search_that_sets_nothing_leaves_training_as_without_it() -> None:
    seed_everything(3, verbose=False)
    searched = Network()
    Tuner(Trainer(max_epochs=2, **QUIET)).lr_find(searched, update_attr=False, **SEARCH)
    after = fitted(searched)
    seed_everything(3, verbose=False)
    assert_equal(after, fitted(Network()))


class Stops(Network):
    """Fails after some steps."""

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        if len(self.losses) == 4:
            message = "mine"
            raise ValueError(message)
        return super().training_step(batch, batch_idx)


class Heard(Callback):
    """Remembers which hooks of training it heard."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        self.names.append("on_fit_start")

    def on_train_batch_end(self, *_: Any) -> None:
        self.names.append("on_train_batch_end")


def test_the_trainer_is_as_before(tmp_path: Path) -> None:
    heard = Heard()
    logger = CSVLogger(tmp_path)
    trainer = Trainer(max_epochs=2, callbacks=[heard], **{**QUIET, "logger": logger, "log_every_n_steps": 1})
    net = Network()
    Tuner(trainer).lr_find(net, **SEARCH)
    assert (trainer.callbacks, trainer.loggers, trainer.max_epochs, trainer.global_step) == ([heard], [logger], 2, 0)
    assert heard.names == []
    assert list(tmp_path.rglob("metrics.csv")) == []
    trainer.fit(net)
    assert (trainer.current_epoch, trainer.global_step) == (2, 16)
    assert heard.names == ["on_fit_start", *["on_train_batch_end"] * 16]


def test_the_trainer_is_as_before_also_when_the_module_fails() -> None:
    trainer, net = Trainer(max_epochs=2, **QUIET), Stops()
    with pytest.raises(ValueError, match="mine"):
        Tuner(trainer).lr_find(net, **SEARCH)
    assert trainer.callbacks == []
    assert net.hparams.lr == 0.05


def test_a_tuner_may_be_derived_from() -> None:
    class Own(Tuner):
        def lr_find(self, *args: Any, **kwargs: Any) -> Any:
            assert self._trainer.world_size == 1
            return super().lr_find(*args, **{**SEARCH, **kwargs})

    search = Own(Trainer(max_epochs=2, **QUIET)).lr_find(Network(), num_training=15)
    assert len(search.results["lr"]) == 15


def test_rates_may_be_looked_for_in_a_hook_of_the_users() -> None:
    class AtSomeEpochs(LearningRateFinder):
        def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
            pass

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 1:
                self.lr_find(trainer, pl_module)

    net, finder = Network(), AtSomeEpochs(1e-4, 1, 30, early_stop_threshold=None)
    losses, _ = fitted(net, finder)
    assert finder.found_rate is not None
    assert len(losses) == 16


def test_a_search_goes_through_the_data_again_where_an_epoch_has_less() -> None:
    search = Tuner(Trainer(max_epochs=1, **QUIET)).lr_find(Network(), **{**SEARCH, "num_training": 20})
    assert search is not None
    assert len(search.results["lr"]) == 20  # an epoch has eight steps


def test_rates_of_manual_optimization_are_tried_as_well() -> None:
    class Manual(Linear):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            optimizer: Any = self.optimizers()
            loss = super().training_step(batch, batch_idx)
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
            return loss

    arguments, suggested, _, losses = OBSERVED[0]
    search = Tuner(Trainer(max_epochs=5, **QUIET)).lr_find(Manual(), rows(), **arguments)
    assert search is not None
    assert search.suggestion() == suggested
    assert search.results["loss"][-1] == pytest.approx(losses[-1], rel=1e-5)


@pytest.mark.parametrize(("mode", "size"), [("power", 8), ("binsearch", 10)])
def test_training_after_sizes_were_tried_equals_training_with_the_size_set_by_hand(mode: str, size: int) -> None:
    seed_everything(3, verbose=False)
    tuned = Network(holds=10)
    assert Tuner(Trainer(max_epochs=2, **QUIET)).scale_batch_size(tuned, mode=mode, margin=0.0) == size
    assert tuned.hparams.batch_size == size
    assert size in tuned.sizes
    after = fitted(tuned)
    seed_everything(3, verbose=False)
    assert_equal(after, fitted(Network(batch_size=size)))


def test_no_size_above_the_number_of_samples_is_set() -> None:
    net = Network()
    assert Tuner(Trainer(max_epochs=2, **QUIET)).scale_batch_size(net) == 24
    assert max(net.sizes) == 24


def test_a_callback_finds_the_size_that_its_own_fit_uses() -> None:
    net, finder = Network(holds=10), BatchSizeFinder()
    losses, _ = fitted(net, finder)
    assert finder.optimal_batch_size == 8
    assert net.sizes[-6:] == [8] * 6
    assert len(losses) == 6


class Hungry(Network):
    """Takes a gigabyte of the device for each sample, until the step is over."""

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        held = torch.empty(len(batch[0]), 1 << 30, dtype=torch.uint8, device=self.device)
        assert held.is_cuda
        return super().training_step(batch, batch_idx)


@pytest.mark.gpu
def test_sizes_that_a_real_device_has_no_room_for_are_not_set() -> None:
    net, on_device = Hungry(), {**QUIET, "accelerator": "cuda", "devices": 1, "max_epochs": 2}
    total = torch.cuda.mem_get_info()[1] >> 30
    torch.cuda.set_per_process_memory_fraction(10.5 / total)
    try:
        size = Tuner(Trainer(**on_device)).scale_batch_size(net, mode="binsearch", margin=0.0)
        assert size in (9, 10)
        assert torch.cuda.memory_allocated() < 1 << 30
        Trainer(**on_device).fit(net)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


class Data(LightningDataModule):
    """Makes loaders of a size that can be set."""

    def __init__(self, batch_size: int = 2) -> None:
        super().__init__()
        self.batch_size = batch_size

    def train_dataloader(self) -> Any:
        return DataLoader(TensorDataset(torch.randn(64, 4)), batch_size=self.batch_size)


class Validates(Network):
    """Has a step for validation, for which there's no data."""

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None: ...


@pytest.mark.filterwarnings("ignore:The module defines `validation_step`")
def test_sizes_are_tried_with_a_datamodule_and_without_validation_data() -> None:
    data, net = Data(), Validates(holds=20)
    trainer = Trainer(max_epochs=1, **QUIET)
    assert Tuner(trainer).scale_batch_size(net, data) == 16  # type: ignore[arg-type]  # a datamodule in the first place
    assert data.batch_size == net.hparams.batch_size == 16
    assert Tuner(trainer).scale_batch_size(Validates(holds=5), datamodule=Data()) == 4


def test_a_resumed_run_goes_on_with_the_size_that_was_found(tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path, every_n_train_steps=2, save_top_k=-1)
    quiet = {name: value for name, value in QUIET.items() if name != "enable_checkpointing"}
    Trainer(max_epochs=1, callbacks=[BatchSizeFinder(), saver], **quiet).fit(Network(holds=5))
    resumed = Network(holds=1000)
    trainer = Trainer(max_epochs=2, callbacks=[BatchSizeFinder(), saver], **quiet)
    trainer.fit(resumed, ckpt_path=sorted(tmp_path.glob("*step=2*"))[0])
    assert set(resumed.sizes) == {4}
    assert len(resumed.sizes) == 4 + 6


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"method": "validate"}, "`method` must be 'fit'"),
        ({"dataloaders": rows()}, "`dataloaders` is for evaluation"),
        ({"train_dataloaders": rows()}, "loaders can't follow the batch size"),
    ],
)
def test_a_tuner_refuses_what_it_can_not_try(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(MisconfigurationException, match=named):
        Tuner(Trainer(**QUIET)).scale_batch_size(Network(), **arguments)


def test_a_tuner_refuses_a_trainer_that_searches_itself() -> None:
    trainer = Trainer(callbacks=[LearningRateFinder()], **QUIET)
    with pytest.raises(MisconfigurationException, match="`LearningRateFinder` among its callbacks"):
        Tuner(trainer).lr_find(Network())


def test_nothing_is_found_when_only_the_code_is_tried() -> None:
    tuner = Tuner(Trainer(fast_dev_run=True, **QUIET))
    assert tuner.lr_find(Network()) is None
    assert tuner.scale_batch_size(Network()) is None


@cache
def on_ranks() -> list[dict[str, Any]]:
    return run_in_processes(search_on_rank, "ddp", timeout_seconds=100)


def test_ranks_find_the_same_rate() -> None:
    first, second = on_ranks()
    assert first["rates"] == second["rates"]
    assert len(set(first["rates"])) == 1
    assert first["results"] == second["results"]


@pytest.mark.parametrize("way", ["tuned", "by callback"])
def test_ranks_train_on_as_with_the_rate_set_by_hand(way: str) -> None:
    for rank in on_ranks():
        assert_equal(rank[way], rank["by hand"])


def test_what_processes_find_comes_home() -> None:
    net = Network()
    trainer = Trainer(max_epochs=2, devices=2, strategy="ddp_spawn", **QUIET)
    search = Tuner(trainer).lr_find(net, **SEARCH)
    assert search is not None
    assert len(search.results["lr"]) == 30
    assert net.hparams.lr == search.suggestion() != 0.05
    assert trainer.callbacks == []
