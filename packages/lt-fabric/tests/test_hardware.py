import math
import re
from typing import Any

import pytest
from fabric_pretence import hide

from lt_fabric.cpu import CPUAccelerator
from lt_fabric.full_precision import FullPrecision
from lt_fabric.hardware import canonical_precision, check_devices, resolve_hardware
from lt_fabric.local_environment import LocalEnvironment
from lt_fabric.single_device import SingleDeviceStrategy
from lt_interfaces import plugins
from lt_interfaces.errors import MisconfigurationException


def test_the_defaults_leave_the_choice_to_the_machine_in_full_precision() -> None:
    spec = resolve_hardware()
    assert (spec.accelerator, spec.strategy, spec.devices, spec.num_nodes) == ("auto", "auto", "auto", 1)
    assert (spec.precision, spec.plugins) == ("32-true", ())
    assert (spec.sync_batchnorm, spec.use_distributed_sampler) == (False, True)
    assert spec.checkpoint_io is None
    assert spec.environment is None


@pytest.mark.parametrize(
    ("given", "devices"),
    [
        ("auto", "auto"),
        ("AUTO", "auto"),
        (3, 3),
        (-1, -1),
        ("-1", -1),
        ("2", 2),
        ("2,", [2]),
        ("0,1", [0, 1]),
        (" 0, 2 ", [0, 2]),
        ([0, 2], [0, 2]),
        ((1,), [1]),
    ],
)
def test_every_form_of_devices_is_a_number_or_indices(given: object, devices: object) -> None:
    assert check_devices(given) == devices


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (0, MisconfigurationException),
        ("0", MisconfigurationException),
        ([], MisconfigurationException),
        (-2, MisconfigurationException),
        ([0, -1], MisconfigurationException),
        ([1, 1], MisconfigurationException),
        ("two", MisconfigurationException),
        ("0,,1", MisconfigurationException),
        ("", MisconfigurationException),
        (True, TypeError),
        (None, TypeError),
        (1.5, TypeError),
        (math.nan, TypeError),
        ([0, "1"], TypeError),
        ({"gpu": 1}, TypeError),
    ],
)
def test_devices_in_another_form_are_refused_by_name(given: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^`devices` must be 'auto', a number of devices"):
        check_devices(given)


@pytest.mark.parametrize(
    ("given", "canonical"),
    [(32, "32-true"), ("32", "32-true"), (64, "64-true"), ("64", "64-true"), ("bf16-mixed", "bf16-mixed")],
)
def test_a_precision_has_one_canonical_name(given: object, canonical: str) -> None:
    assert canonical_precision(given, ["32-true", "bf16-mixed"]) == canonical


@pytest.mark.parametrize(("given", "canonical"), [(16, "16-mixed"), ("16", "16-mixed"), ("bf16", "bf16-mixed")])
def test_an_ambiguous_precision_is_accepted_with_a_warning(given: object, canonical: str) -> None:
    with pytest.warns(UserWarning, match=f"stands for '{canonical}'"):
        assert canonical_precision(given, []) == canonical


@pytest.mark.parametrize("given", [8, "bf16-mixd", True, math.nan, 32.0, []])
def test_an_unknown_precision_is_refused(given: object) -> None:
    with pytest.raises(ValueError, match=r"^`precision` must be one of"):
        canonical_precision(given, ["32-true", "bf16-mixed"])


def test_a_misspelt_precision_is_told_what_it_may_have_meant() -> None:
    with pytest.raises(ValueError, match="Did you mean `bf16-mixed`"):
        resolve_hardware(precision="bf16-mixd")


def test_an_unknown_precision_is_told_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "precisions", *(name for name in plugins.known_names("precisions") if name != "32-true"))
    with pytest.raises(ValueError, match=r"'bf16-mixed'.*\(installed: '32-true'\).*Did you mean `bf16-mixed`"):
        resolve_hardware(precision="bf16-mixd")


def test_a_name_that_a_stranger_offers_passes() -> None:
    assert canonical_precision("int4", ["int4"]) == "int4"


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ({"accelerator": "gup"}, "Did you mean `gpu`"),
        ({"accelerator": 3}, "3"),
        ({"accelerator": CPUAccelerator}, "Pass an instance"),
        ({"strategy": "dpp"}, "Did you mean `ddp`"),
        ({"strategy": None}, "None"),
        ({"num_nodes": 0}, "0"),
        ({"num_nodes": "2"}, "'2'"),
        ({"num_nodes": 1.0}, "1.0"),
        ({"plugins": "bf16"}, "'bf16'"),
        ({"plugins": [FullPrecision(), 3]}, "3"),
        ({"plugins": [FullPrecision(), FullPrecision()]}, "precision"),
    ],
)
def test_a_wrong_value_is_a_value_error_that_names_argument_and_value(arguments: dict[str, Any], shown: str) -> None:
    with pytest.raises(ValueError, match=f"`{next(iter(arguments))}`.*{re.escape(shown)}"):
        resolve_hardware(**arguments)


@pytest.mark.parametrize("name", ["sync_batchnorm", "use_distributed_sampler"])
def test_switches_take_nothing_but_bools(name: str) -> None:
    with pytest.raises(TypeError, match=f"`{name}` must be True or False, but got 'yes'"):
        resolve_hardware(**{name: "yes"})


def test_instances_stay_what_they_are() -> None:
    accelerator, strategy, precision = CPUAccelerator(), SingleDeviceStrategy(), FullPrecision()
    spec = resolve_hardware(accelerator=accelerator, strategy=strategy, precision=precision)
    assert spec.accelerator is accelerator
    assert spec.strategy is strategy
    assert spec.precision is precision


def test_names_come_out_in_lower_case() -> None:
    spec = resolve_hardware(accelerator="CPU", strategy="DDP")
    assert (spec.accelerator, spec.strategy) == ("cpu", "ddp")


def test_plugins_are_told_apart_by_kind() -> None:
    precision, environment = FullPrecision(), LocalEnvironment()
    spec = resolve_hardware(plugins=[environment, precision])
    assert spec.precision is precision
    assert spec.environment is environment
    assert spec.checkpoint_io is None


def test_precision_and_a_precision_plugin_exclude_each_other() -> None:
    with pytest.raises(ValueError, match=r"`precision` must be left out.*got 32 beside FullPrecision"):
        resolve_hardware(precision=32, plugins=FullPrecision())


def test_the_users_list_of_devices_is_copied() -> None:
    devices = [0, 1]
    assert resolve_hardware(devices=devices).devices is not devices
