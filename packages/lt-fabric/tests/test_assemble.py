import re
import sys
from typing import Any

import pytest
import torch
from fabric_pretence import ManyAccelerator, ManyStrategy, ScriptLauncher, hide, offer

from lt_fabric.assemble import assemble
from lt_fabric.cpu import CPUAccelerator
from lt_fabric.full_precision import FullPrecision
from lt_fabric.hardware import resolve_hardware
from lt_fabric.local_checkpoint import LocalCheckpointIO
from lt_fabric.local_environment import LocalEnvironment
from lt_fabric.runtime import Runtime
from lt_fabric.single_device import SingleDeviceStrategy
from lt_interfaces import MisconfigurationException, plugins
from lt_interfaces.errors import PossibleUserWarning


def put_together(**arguments: Any) -> Runtime:
    return assemble(resolve_hardware(**{"accelerator": "cpu", **arguments}))


def test_the_defaults_make_one_cpu_in_full_precision() -> None:
    runtime = put_together()
    assert [type(part) for part in (runtime.accelerator, runtime.environment, runtime.strategy)] == [
        CPUAccelerator,
        LocalEnvironment,
        SingleDeviceStrategy,
    ]
    assert type(runtime.precision) is FullPrecision
    assert type(runtime.checkpoint_io) is plugins.resolve("checkpoint_ios", runtime.strategy.default_checkpoint_io)
    assert (runtime.num_nodes, runtime.devices) == (1, (torch.device("cpu"),))


def test_plugins_are_used() -> None:
    precision, checkpoint_io, environment = FullPrecision(), LocalCheckpointIO(), LocalEnvironment()
    runtime = put_together(plugins=[checkpoint_io, environment, precision])
    assert runtime.precision is precision
    assert runtime.checkpoint_io is checkpoint_io
    assert runtime.environment is environment


def test_instances_are_used() -> None:
    strategy, precision = SingleDeviceStrategy(), FullPrecision()
    runtime = put_together(strategy=strategy, precision=precision, accelerator=CPUAccelerator())
    assert runtime.strategy is strategy
    assert runtime.precision is precision


def test_two_checkpoint_ios_are_refused() -> None:
    with pytest.raises(MisconfigurationException, match="`checkpoint_io="):
        assemble(resolve_hardware(plugins=LocalCheckpointIO()), checkpoint_io=LocalCheckpointIO())


@pytest.mark.parametrize(
    ("kind", "arguments", "line"),
    [
        ("precisions", {"precision": "bf16-mixed"}, "pip install lt-precision"),
        ("strategies", {"strategy": "fsdp"}, "pip install lt-fsdp"),
        ("strategies", {"strategy": "deepspeed_stage_3"}, "pip install lt-deepspeed"),
    ],
)
def test_what_is_not_installed_gets_its_install_line(
    monkeypatch: pytest.MonkeyPatch, kind: str, arguments: dict[str, Any], line: str
) -> None:
    hide(monkeypatch, kind, *arguments.values())
    with pytest.raises(ValueError, match=line):
        put_together(**arguments)


def test_several_devices_choose_ddp(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, "strategies", ddp=ManyStrategy)
    strategy = put_together(devices=2, num_nodes=3).strategy
    assert isinstance(strategy, ManyStrategy)
    assert (len(strategy.assembly.devices), strategy.assembly.num_nodes) == (2, 3)


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (CPUAccelerator, "ManyStrategy doesn't work with `accelerator='cpu'`"),
        (FullPrecision, "ManyStrategy doesn't work with `precision='32-true'`"),
    ],
)
def test_parts_that_do_not_fit_are_both_named(refused: type, message: str) -> None:
    strategy = ManyStrategy()
    strategy.refused = [refused]
    with pytest.raises(MisconfigurationException, match=message):
        put_together(strategy=strategy)


def test_the_environment_is_asked_whether_processes_and_settings_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ValueError, match="WORLD_SIZE says 3"):
        put_together(strategy=ManyStrategy(), devices=2)


def test_a_notebook_does_not_run_its_script_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    with pytest.raises(MisconfigurationException, match="ddp_notebook"):
        put_together(strategy=ManyStrategy(), devices=2)
    monkeypatch.setattr(ScriptLauncher, "is_interactive_compatible", True)
    put_together(strategy=ManyStrategy(), devices=2)


def test_a_notebook_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    monkeypatch.setattr(ScriptLauncher, "is_interactive_compatible", True)
    offer(monkeypatch, "strategies", ddp=SingleDeviceStrategy, ddp_fork=ManyStrategy)
    assert isinstance(put_together(devices=2).strategy, ManyStrategy)


def test_the_best_accelerator_is_asked_for_its_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, "accelerators", many=ManyAccelerator)
    assert len(put_together(accelerator="auto", strategy=ManyStrategy()).devices) == 4


def test_batch_norm_over_ranks_is_said_to_do_nothing_on_one_device() -> None:
    with pytest.warns(PossibleUserWarning, match="`sync_batchnorm=True` has no effect with SingleDeviceStrategy"):
        assemble(resolve_hardware(accelerator="cpu", sync_batchnorm=True))


def test_one_device_in_each_of_several_processes_is_worth_a_word_unless_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offer(monkeypatch, "strategies", ddp=ManyStrategy)
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.warns(PossibleUserWarning, match=r"one of 2 processes.*`strategy='single_device'`"):
        put_together(accelerator="cpu", devices=1)
    assert put_together(accelerator="cpu", devices=1, strategy="single_device").strategy.world_size == 1


def test_a_precision_that_does_not_fit_is_told_what_would(monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd(FullPrecision):
        precision = "odd"

    def without_its_engine(name: str, device: torch.device) -> None:
        message = "no engine"
        raise ModuleNotFoundError(message)

    many = ManyStrategy()
    many.refused = [Odd]
    offer(monkeypatch, "precisions", **{"32-true": FullPrecision, "broken": without_its_engine})
    offer(monkeypatch, "strategies", many=lambda: many, single=SingleDeviceStrategy, another=SingleDeviceStrategy)
    with pytest.raises(MisconfigurationException) as refusal:
        put_together(strategy=many, plugins=[Odd()])
    said, precisions, strategies = re.split(
        " (?:Precisions that go with it|Strategies that take this precision): ", str(refusal.value)
    )
    assert said == "ManyStrategy doesn't work with `precision='odd'`."
    assert "'32-true'" in precisions
    assert "'broken'" not in precisions
    assert "'another'" in strategies
    assert "'many'" not in strategies
    assert "'single'" not in strategies  # the same class once more
