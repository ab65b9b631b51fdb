import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Net, fit, rows, trainer_with
from torch import Tensor, nn

from lt_core import LightningModule
from lt_interfaces.callback import Callback
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.roles import Role


class Plain(LightningModule):
    """A module without parameters."""


class Nested(LightningModule):
    """Two modules below this one, the second within a torch module."""

    def __init__(self) -> None:
        super().__init__()
        self.child = Plain()
        self.part = nn.Sequential(Plain(), nn.Linear(2, 2))


class Arguments(LightningModule):
    def __init__(self, width: int, depth: int = 2, **others: Any) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = nn.Linear(width, 1)


def everywhere(module: Nested) -> list[LightningModule]:
    return [module, module.child, module.part[0]]  # type: ignore[list-item]  # torch types children as modules


# --- where it is ---


@pytest.mark.parametrize(
    ("move", "dtype"),
    [
        (lambda module: module.double(), torch.float64),
        (lambda module: module.half(), torch.float16),
        (lambda module: module.bfloat16(), torch.bfloat16),
        (lambda module: module.to(torch.float64), torch.float64),
        (lambda module: module.to(torch.ones(1, dtype=torch.float64)), torch.float64),
        (lambda module: module.to(device="cpu", dtype=torch.float16), torch.float16),
        (lambda module: module.type(torch.float64), torch.float64),
        (lambda module: module.double().float(), torch.float32),
        (lambda module: module.cpu(), torch.float32),
    ],
)
def test_format_follows_every_cast_also_without_parameters(move: Any, dtype: torch.dtype) -> None:
    nested = Nested()
    assert move(nested) is nested
    assert [module.dtype for module in everywhere(nested)] == [dtype] * 3
    assert nested.part[1].weight.dtype == dtype


@pytest.mark.parametrize(
    "move",
    [
        lambda module: module.to("meta"),
        lambda module: module.to(device="meta"),
        lambda module: module.to_empty(device="meta"),
    ],
)
def test_device_follows_every_move_also_without_parameters(move: Any) -> None:
    nested = move(Nested())
    assert [module.device.type for module in everywhere(nested)] == ["meta"] * 3
    assert not nested.on_gpu


@pytest.mark.gpu
def test_device_follows_to_the_gpu_and_back() -> None:
    nested = Nested().cuda()
    assert [module.device.type for module in everywhere(nested)] == ["cuda"] * 3
    assert nested.on_gpu
    assert [module.device.type for module in everywhere(nested.cpu())] == ["cpu"] * 3


def test_a_new_module_is_on_the_cpu_in_the_default_format() -> None:
    assert (Plain().device, Plain().dtype) == (torch.device("cpu"), torch.get_default_dtype())


def test_where_a_module_is_cannot_be_assigned() -> None:
    with pytest.raises(AttributeError):
        Plain().device = torch.device("meta")  # type: ignore[misc]  # the mistake tested
    with pytest.raises(RuntimeError):
        Plain().dtype = torch.float16  # type: ignore[misc]  # the mistake tested


def test_where_it_is_is_no_part_of_its_weights() -> None:
    assert Plain().state_dict() == {}
    assert list(Plain().parameters()) == []
    assert list(Plain().buffers()) == []


# --- with and without a Trainer ---


def test_without_a_trainer_counts_are_zero_and_asking_for_it_is_refused() -> None:
    module = Plain()
    assert (module.current_epoch, module.global_step, module.global_rank, module.local_rank) == (0, 0, 0, 0)
    assert (module.logger, module.loggers, module.fabric) == (None, [], None)
    with pytest.raises(RuntimeError, match="isn't attached to a Trainer yet"):
        module.trainer  # noqa: B018  # the look-up is the test


def test_children_are_attached_with_their_parent(tmp_path: Path) -> None:
    trainer, nested = trainer_with(tmp_path), Nested()
    nested.trainer = trainer
    assert all(module.trainer is trainer for module in everywhere(nested))
    nested.trainer = None
    with pytest.raises(RuntimeError):
        nested.child.trainer  # noqa: B018


def test_counts_are_those_of_the_trainer(tmp_path: Path) -> None:
    module = Net()
    fit(tmp_path, module)
    assert (module.current_epoch, module.global_step) == (1, 4)


def test_defaults_of_the_settings() -> None:
    module = Plain()
    assert module.automatic_optimization
    assert module.strict_loading
    assert module.prepare_data_per_node
    assert module.example_input_array is None
    assert module.device_mesh is None
    assert not module.allow_zero_length_dataloader_with_multiple_devices
    module.strict_loading = False
    assert not module.strict_loading


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_a_module_in_a_trainer_is_copied_without_it(copied: Any, tmp_path: Path) -> None:
    net = Net()
    trainer = fit(tmp_path, net)
    twin = copied(net)
    assert torch.equal(twin.weights, net.weights)
    with pytest.raises(RuntimeError, match="isn't attached"):
        twin.trainer  # noqa: B018
    assert net.trainer is trainer
    fit(tmp_path, twin)


def test_copies_keep_their_hyperparameters() -> None:
    module = Arguments(3, depth=5)
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert twin.hparams == {"width": 3, "depth": 5}
        assert twin.hparams.depth == 5


class Copies(Net):
    """Copies itself in the middle of a run."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("loss", 1.0)
        if batch_idx == 1:
            self.twins = [pickle.loads(pickle.dumps(self)), copy.deepcopy(self)]
        return super().training_step(batch, batch_idx)


def test_a_module_is_copied_in_the_middle_of_a_run(tmp_path: Path) -> None:
    module = Copies()
    fit(tmp_path, module)
    for twin in module.twins:
        with pytest.raises(RuntimeError, match="isn't attached"):
            twin.trainer  # noqa: B018
        assert not torch.equal(twin.weights, module.weights)


def test_torch_save_takes_a_fitted_module_whole(tmp_path: Path) -> None:
    net = Net()
    fit(tmp_path, net)
    torch.save(net, tmp_path / "net.pt")
    assert torch.equal(torch.load(tmp_path / "net.pt", weights_only=False).weights, net.weights)


# --- hyper-parameters ---


def test_hyperparameters_are_the_arguments() -> None:
    module = Arguments(3, extra="x")
    assert module.hparams == {"width": 3, "depth": 2, "extra": "x"}
    module.hparams.depth = 9
    assert module.hparams["depth"] == 9
    assert module.hparams_initial.depth == 2
    assert Plain().hparams == {}


def test_keys_of_hyperparameters_in_checkpoints_are_lightnings() -> None:
    assert LightningModule.CHECKPOINT_HYPER_PARAMS_KEY == "hyper_parameters"
    assert LightningModule.CHECKPOINT_HYPER_PARAMS_NAME == "hparams_name"
    assert LightningModule.CHECKPOINT_HYPER_PARAMS_TYPE == "hparams_type"


def test_loading_on_an_instance_is_refused() -> None:
    with pytest.raises(TypeError, match=r"called on the class: `Net\.load_from_checkpoint"):
        Net().load_from_checkpoint("file.ckpt")
    assert callable(Net().load_from_checkpoint)  # looking is allowed: tools walk over attributes


# --- what needs to be defined ---


@pytest.mark.parametrize(
    "name",
    [
        *("training_step", "validation_step", "test_step", "configure_optimizers", "train_dataloader"),
        *("val_dataloader", "test_dataloader", "predict_dataloader"),
    ],
)
def test_what_is_not_defined_says_so(name: str) -> None:
    with pytest.raises(MisconfigurationException, match=f"Plain doesn't define `{name}"):
        getattr(Plain(), name)()


def test_predicting_is_the_forward_pass_by_default() -> None:
    class Forward(LightningModule):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2

    assert Forward().predict_step(torch.ones(1), 0).item() == 2
    assert Forward().predict_step(batch=torch.ones(1), batch_idx=0).item() == 2


# --- freezing ---


def test_freezing_and_unfreezing_give_the_module_back() -> None:
    module = Nested()
    assert module.freeze() is module
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert not any(part.training for part in module.modules())
    assert module.unfreeze() is module
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert all(part.training for part in module.modules())


# --- batches ---


def test_batches_are_moved_whatever_their_structure() -> None:
    batch = {"x": [torch.zeros(2)], "name": "text"}
    moved = Plain().transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert moved["x"][0].device.type == "meta"
    assert moved["name"] == "text"


# --- in a run ---


def test_optimizers_and_schedulers_come_alone_or_as_a_list(tmp_path: Path) -> None:
    class Asks(Net):
        num_optimizers = 1

        def configure_optimizers(self) -> Any:
            optimizers = [torch.optim.SGD(self.parameters(), lr=0.1) for _ in range(self.num_optimizers)]
            return optimizers, [torch.optim.lr_scheduler.StepLR(one, 1) for one in optimizers]

        def training_step(self, batch: Any, batch_idx: int) -> None:
            self.found = self.optimizers(), self.optimizers(use_pl_optimizer=False), self.lr_schedulers()

    one, two = Asks(), Asks()
    two.num_optimizers = 2
    for module in (one, two):
        module.automatic_optimization = False
        fit(tmp_path, module)
    wrapped, raw, scheduler = one.found
    assert type(raw) is torch.optim.SGD
    assert isinstance(wrapped, torch.optim.SGD)
    assert wrapped.optimizer is raw
    assert isinstance(scheduler, torch.optim.lr_scheduler.StepLR)
    assert [len(found) for found in two.found] == [2, 2, 2]


def test_no_scheduler_is_none(tmp_path: Path) -> None:
    class Asks(Net):
        def on_train_start(self) -> None:
            assert self.lr_schedulers() is None

    fit(tmp_path, Asks())


class Prints(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.print("batch", batch_idx, sep="=")
        return super().training_step(batch, batch_idx)


def test_printing_goes_to_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path, Prints(), data=rows(2))
    assert capsys.readouterr().out == "batch=0\nbatch=1\n"


def test_printing_goes_through_the_progress_bar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Bar(Callback):
        role = Role.PROGRESS

        def __init__(self) -> None:
            self.printed: list[Any] = []

        def print(self, *args: Any, **kwargs: Any) -> None:
            self.printed.append((args, kwargs))

        def get_metrics(self, trainer: Any, pl_module: Any) -> dict[str, Any]:
            return {}

    bar = Bar()
    fit(tmp_path, Prints(), bar, data=rows(1), enable_progress_bar=True)
    assert bar.printed == [(("batch", 0), {"sep": "="})]
    assert capsys.readouterr().out == ""


def test_gathering_on_one_device_gives_tensors_back_as_they_are(tmp_path: Path) -> None:
    class Gathers(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            found = self.all_gather({"x": batch, "number": 3, "name": "text", "more": [1.5]})
            assert found["x"] is batch
            assert found["number"].item() == 3
            assert found["more"][0].item() == 1.5
            assert found["name"] == "text"
            return super().training_step(batch, batch_idx)

    fit(tmp_path, Gathers(), data=rows(1))
