from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from fabric_pretence import FunctionLauncher, ManyStrategy, ScriptLauncher
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader

from lt_fabric.fabric import Fabric
from lt_fabric.optimizer_proxy import FabricOptimizer
from lt_fabric.wrappers import FabricModule, is_wrapped
from lt_interfaces import Logger
from lt_interfaces.testing import RegressionDataset, TinyRegressor


class MemoryLogger(Logger):
    """Keeps what it's sent."""

    name = "memory"
    version = 0

    def __init__(self) -> None:
        self.sent: list[tuple[dict[str, float], int | None]] = []

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.sent.append((dict(metrics), step))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Ignore them."""


def cpu(**arguments: Any) -> Fabric:
    return Fabric(**{"accelerator": "cpu", **arguments})


def plainly_trained(epochs: int) -> nn.Module:
    module = TinyRegressor()
    optimizer = Adam(module.parameters(), lr=0.05)
    for _ in range(epochs):
        for inputs, targets in DataLoader(RegressionDataset(), batch_size=4):
            optimizer.zero_grad()
            mse_loss(module(inputs), targets).backward()
            optimizer.step()
    return module


def same(first: Iterable[Tensor], second: Iterable[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


# --- training ---


def test_training_equals_plain_torch() -> None:
    fabric = cpu()
    module = TinyRegressor()
    model, optimizer = fabric.setup(module, Adam(module.parameters(), lr=0.05))
    loader = fabric.setup_dataloaders(DataLoader(RegressionDataset(), batch_size=4))
    for _ in range(3):
        for inputs, targets in loader:
            optimizer.zero_grad()
            fabric.backward(mse_loss(model(inputs), targets))
            optimizer.step()
    assert same(module.parameters(), plainly_trained(3).parameters())


def test_accumulated_gradients_are_those_of_the_whole_batch() -> None:
    fabric = cpu()
    model = fabric.setup(TinyRegressor())
    data = RegressionDataset(length=8)
    for number in range(2):
        rows = slice(4 * number, 4 * number + 4)
        with fabric.no_backward_sync(model, enabled=number == 0):
            fabric.backward(mse_loss(model(data.rows[rows]), data.targets[rows]) / 2)
    whole = TinyRegressor()
    mse_loss(whole(data.rows), data.targets).backward()
    for found, expected in zip(model.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad)


def test_a_scheduler_made_before_or_after_moves_the_learning_rate() -> None:
    fabric = cpu()
    module = TinyRegressor()
    plain = SGD(module.parameters(), lr=1.0)
    before = StepLR(plain, step_size=1, gamma=0.1)
    model, optimizer, returned = fabric.setup(module, plain, scheduler=before)
    assert returned is before
    after = StepLR(optimizer, step_size=1, gamma=0.5)
    fabric.backward(model(torch.ones(1, 4)).sum())
    optimizer.step()
    before.step()
    after.step()
    assert plain.param_groups[0]["lr"] == pytest.approx(0.05)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)


def test_backward_takes_the_arguments_of_torch() -> None:
    loss = torch.ones((), requires_grad=True) * 2
    cpu().backward(loss, retain_graph=True)
    cpu().backward(loss, torch.tensor(3.0))


# --- set-up ---


def test_a_module_alone_comes_back_alone() -> None:
    assert isinstance(cpu().setup(TinyRegressor()), FabricModule)
    assert isinstance(cpu().setup_module(TinyRegressor()), FabricModule)


def test_an_optimizer_stays_an_instance_of_its_class() -> None:
    module = TinyRegressor()
    _, optimizer = cpu().setup(module, SGD(module.parameters(), lr=0.1))
    assert isinstance(optimizer, SGD)
    assert isinstance(optimizer, FabricOptimizer)
    assert type(optimizer).__name__ == "FabricSGD"


def test_optimizers_can_be_set_up_later() -> None:
    fabric = cpu()
    model = fabric.setup_module(TinyRegressor())
    first, second = fabric.setup_optimizers(SGD(model.parameters(), lr=0.1), Adam(model.parameters()))
    assert is_wrapped(first)
    assert is_wrapped(second)
    assert is_wrapped(fabric.setup_optimizers(SGD(model.parameters(), lr=0.1)))


def test_nothing_is_set_up_twice() -> None:
    fabric = cpu()
    module = TinyRegressor()
    model, optimizer = fabric.setup(module, SGD(module.parameters(), lr=0.1))
    loader = fabric.setup_dataloaders(DataLoader(RegressionDataset()))
    with pytest.raises(ValueError, match="FabricModule is set up already"):
        fabric.setup(model)
    with pytest.raises(ValueError, match="FabricSGD is set up already"):
        fabric.setup(TinyRegressor(), optimizer)
    with pytest.raises(ValueError, match="FabricSGD is set up already"):
        fabric.setup_optimizers(optimizer)
    with pytest.raises(ValueError, match="FabricDataLoader is set up already"):
        fabric.setup_dataloaders(loader)


def test_one_loader_comes_alone_and_several_as_a_list() -> None:
    fabric = cpu()
    assert len(fabric.setup_dataloaders(DataLoader(RegressionDataset()))) == 16
    loaders = fabric.setup_dataloaders(DataLoader(RegressionDataset()), DataLoader(RegressionDataset()))
    assert isinstance(loaders, list)
    assert len(loaders) == 2


def test_callbacks_hear_of_a_module_that_was_set_up() -> None:
    heard = []

    class Hearing:
        def on_after_setup(self, fabric: Fabric, module: nn.Module) -> None:
            heard.append((fabric, module))

    fabric = cpu(callbacks=Hearing())
    model = fabric.setup(TinyRegressor())
    assert heard == [(fabric, model)]


def test_a_module_that_asks_for_fabric_gets_it_and_hears_hooks() -> None:
    class Knowing(TinyRegressor):
        _fabric: Any = None
        heard: list[str]

        @property
        def fabric(self) -> Any:
            return self._fabric

        @fabric.setter
        def fabric(self, fabric: Any) -> None:
            self._fabric = fabric

        def on_epoch(self, epoch: int) -> None:
            self.heard = [f"epoch {epoch}"]

    fabric = cpu()
    module = Knowing()
    fabric.setup(module)
    fabric.call("on_epoch", epoch=1)
    assert module.fabric is fabric
    assert module.heard == ["epoch 1"]


# --- processes ---


def test_launch_calls_a_function_with_fabric_and_returns_its_result() -> None:
    fabric = cpu()
    assert fabric.launch(lambda fabric, first, *, second: (fabric.global_rank, first, second), 1, second=2) == (0, 1, 2)
    assert fabric.is_launched


def test_several_processes_must_be_launched_first() -> None:
    fabric = cpu(strategy=ManyStrategy())
    for use in (fabric.barrier, lambda: fabric.setup(TinyRegressor()), lambda: fabric.broadcast(1)):
        with pytest.raises(RuntimeError, match=r"ManyStrategy.*`fabric\.launch\(\)`"):
            use()
    fabric.launch()
    fabric.barrier("here")


def test_a_launcher_that_starts_processes_with_a_function_needs_one() -> None:
    strategy = ManyStrategy()
    strategy.started = FunctionLauncher()
    with pytest.raises(TypeError, match=r"FunctionLauncher.*`fabric\.launch\(train\)`"):
        cpu(strategy=strategy).launch()


def test_a_command_line_that_started_the_processes_replaces_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LT_CLI_USED", "1")
    fabric = cpu(strategy=ManyStrategy())
    fabric.barrier()
    with pytest.raises(RuntimeError, match="leave `launch` out"):
        fabric.launch()


def test_run_is_launched_when_it_is_called() -> None:
    class Training(Fabric):
        def run(self, start: int, *, end: int) -> tuple[bool, int]:
            return self.is_launched, end - start

    class Longer(Training):
        def run(self, start: int, *, end: int) -> tuple[bool, int]:
            return super().run(start, end=end + 1)

    assert Training(accelerator="cpu").run(1, end=3) == (True, 2)
    assert Longer(accelerator="cpu", strategy=ManyStrategy()).run(1, end=3) == (True, 3)


def test_run_must_be_overridden() -> None:
    with pytest.raises(NotImplementedError, match="override it"):
        cpu().run()


def test_one_device_is_rank_zero_of_one() -> None:
    fabric = cpu()
    assert (fabric.global_rank, fabric.local_rank, fabric.node_rank, fabric.world_size) == (0, 0, 0, 1)
    assert fabric.is_global_zero
    assert fabric.device == torch.device("cpu")
    assert fabric.accelerator.name == "cpu"
    assert fabric.strategy.root_device == fabric.device


def test_collectives_of_one_device_return_what_they_get() -> None:
    fabric = cpu()
    assert fabric.broadcast({"a": 1}) == {"a": 1}
    assert fabric.all_reduce({"a": torch.tensor(2.0), "b": [3]}) == {"a": torch.tensor(2.0), "b": [torch.tensor(3)]}
    assert torch.equal(fabric.all_gather(torch.arange(3)), torch.arange(3))
    with fabric.rank_zero_first():
        pass


def test_prints_once_per_machine(capsys: pytest.CaptureFixture[str]) -> None:
    cpu().print("hello", end="!")
    assert capsys.readouterr().out == "hello!"


# --- clipping ---


def test_exactly_one_limit_is_needed_to_clip() -> None:
    fabric = cpu()
    module = TinyRegressor()
    model, optimizer = fabric.setup(module, SGD(module.parameters(), lr=0.1))
    for limits in ({}, {"clip_val": 1.0, "max_norm": 1.0}):
        with pytest.raises(ValueError, match="`clip_val` and `max_norm`"):
            fabric.clip_gradients(model, optimizer, **limits)


def test_clipping_returns_the_norm_before() -> None:
    fabric = cpu()
    module = nn.Linear(2, 1, bias=False)
    model, optimizer = fabric.setup(module, SGD(module.parameters(), lr=0.1))
    fabric.backward(model(torch.tensor([[3.0, 4.0]])).sum())
    norm = fabric.clip_gradients(model, optimizer, max_norm=1.0)
    assert norm == 5.0
    torch.testing.assert_close(module.weight.grad, torch.tensor([[0.6, 0.8]]))
    assert fabric.clip_gradients(model, optimizer, clip_val=0.7) is None
    torch.testing.assert_close(module.weight.grad, torch.tensor([[0.6, 0.7]]))


def test_gradients_that_are_no_numbers_are_not_clipped_quietly() -> None:
    fabric = cpu()
    module = nn.Linear(1, 1)
    model, optimizer = fabric.setup(module, SGD(module.parameters(), lr=0.1))
    fabric.backward(model(torch.ones(1, 1)).sum() * float("nan"))
    with pytest.raises(RuntimeError, match="nan"):
        fabric.clip_gradients(model, optimizer, max_norm=1.0)


# --- creating and moving ---


def test_data_and_modules_go_to_the_device() -> None:
    fabric = cpu()
    module = TinyRegressor()
    assert fabric.to_device(module) is module
    batch = {"x": torch.ones(1), "name": "a"}
    assert fabric.to_device(batch)["x"] is batch["x"]


def test_modules_and_tensors_are_created_on_the_device() -> None:
    fabric = cpu(strategy="auto")
    with fabric.init_module(), fabric.init_tensor():
        assert nn.Linear(1, 1).weight.device == fabric.device
    before = torch.get_rng_state()
    with fabric.init_module(empty_init=True):
        nn.Linear(2, 2)
    assert torch.equal(torch.get_rng_state(), before)


def test_autocast_is_the_precisions_context() -> None:
    with cpu().autocast():
        assert (torch.ones(1) @ torch.ones(1)).dtype == torch.float32


# --- checkpoints ---


def test_a_saved_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    fabric = cpu()
    runs = []
    for seed in (0, 1):
        module = TinyRegressor(seed=seed)
        runs.append(fabric.setup(module, Adam(module.parameters(), lr=0.05)))
    (model, optimizer), (resumed, fresh) = runs
    data = RegressionDataset()

    def step(one: Any, other: Any) -> None:
        other.zero_grad()
        fabric.backward(mse_loss(one(data.rows), data.targets))
        other.step()

    step(model, optimizer)
    fabric.save(tmp_path / "a.ckpt", {"model": model, "optimizer": optimizer, "epoch": 3, "extra": [1, 2]})
    state = {"model": resumed, "optimizer": fresh, "epoch": 0}
    assert fabric.load(tmp_path / "a.ckpt", state) == {"extra": [1, 2]}
    assert state["epoch"] == 3
    step(model, optimizer)
    step(resumed, fresh)
    assert same(model.parameters(), resumed.parameters())


def test_loading_without_a_state_returns_the_file(tmp_path: Path) -> None:
    cpu().save(tmp_path / "a.ckpt", {"epoch": 3})
    assert cpu().load(tmp_path / "a.ckpt") == {"epoch": 3}


def test_a_file_of_weights_alone_loads_into_a_module(tmp_path: Path) -> None:
    fabric = cpu()
    torch.save(TinyRegressor(seed=7).state_dict(), tmp_path / "weights.pt")
    model = fabric.setup(TinyRegressor())
    fabric.load_raw(tmp_path / "weights.pt", model)
    assert same(model.parameters(), TinyRegressor(seed=7).parameters())


def test_a_wrapped_module_is_saved_under_its_own_names(tmp_path: Path) -> None:
    fabric = cpu(strategy=ManyStrategy())
    fabric.launch()
    model = fabric.setup(TinyRegressor())
    fabric.save(tmp_path / "a.ckpt", {"model": model})
    assert set(fabric.load(tmp_path / "a.ckpt")["model"]) == set(TinyRegressor().state_dict())


# --- loggers and callbacks ---


def test_values_reach_every_logger_as_numbers() -> None:
    first, second = MemoryLogger(), MemoryLogger()
    fabric = cpu(loggers=[first, second])
    fabric.log("loss", torch.tensor(0.5), step=3)
    fabric.log_dict({"accuracy": 1, "loss": torch.tensor([2.0])})
    assert first.sent == second.sent == [({"loss": 0.5}, 3), ({"accuracy": 1, "loss": 2.0}, None)]
    assert fabric.loggers == [first, second]
    assert fabric.logger is first


def test_without_a_logger_there_is_none_to_name() -> None:
    assert cpu().loggers == []
    with pytest.raises(IndexError):
        _ = cpu().logger


def test_the_users_lists_stay_as_they_are() -> None:
    callbacks: list[Any] = []

    class Knowing(TinyRegressor):
        fabric: Any = None

    cpu(callbacks=callbacks).setup(Knowing())
    assert callbacks == []


# --- arguments ---


@pytest.mark.parametrize("plugin", [object(), "32-true"])
def test_other_plugins_are_refused(plugin: object) -> None:
    with pytest.raises(TypeError, match="`plugins`"):
        cpu(plugins=[plugin])


def test_the_environment_replaces_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LT_PRECISION", "32")
    assert cpu()._runtime.precision.precision == "32-true"
    monkeypatch.setenv("LT_PRECISION", "32-treu")
    with pytest.raises(ValueError, match="32-true"):
        cpu()


def test_seeding_repeats_random_numbers() -> None:
    assert Fabric.seed_everything(3, verbose=False) == 3
    first = torch.rand(1)
    Fabric.seed_everything(3, verbose=False)
    assert torch.equal(torch.rand(1), first)


def test_a_script_launcher_is_used_by_launch() -> None:
    strategy = ManyStrategy()
    strategy.started = ScriptLauncher()
    assert cpu(strategy=strategy).launch(lambda fabric: fabric.world_size) == 1
