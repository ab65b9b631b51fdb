"""The groups recognise modules, data modules and callbacks as Lightning's do, and mixins change nothing else."""

import subprocess
import sys
from typing import Any

import pytest
from torch import nn

from lt_core import Callback, LightningModule
from lt_core.hook_groups import CheckpointHooks, DataHooks, ModelHooks, is_overridden
from lt_core.hook_plan import overrides
from lt_datamodules import LightningDataModule
from lt_interfaces.hooks import Hearer, heard_by

GROUPS = (ModelHooks, DataHooks, CheckpointHooks)


class Module(LightningModule):
    def training_step(self, batch: Any) -> None: ...


class Data(LightningDataModule):
    def setup(self, stage: str) -> None: ...


class Listener(Callback):
    def on_fit_start(self, *args: Any) -> None: ...


class ToldMixin(ModelHooks):
    told: tuple[str, ...] = ()

    def on_fit_start(self) -> None:
        super().on_fit_start()  # type: ignore[misc]  # of the next class
        self.told = (*self.told, "mixin")


class Base(Module):
    told: tuple[str, ...] = ()

    def on_fit_start(self) -> None:
        self.told = (*self.told, "base")

    def on_fit_end(self) -> None:
        self.told = (*self.told, "end")


class Mixed(ToldMixin, DataHooks, CheckpointHooks, Base):
    pass


def test_modules_data_modules_and_callbacks_belong_to_the_groups_of_lightning() -> None:
    assert [isinstance(Module(), group) for group in GROUPS] == [True, True, True]
    assert [isinstance(Data(), group) for group in GROUPS] == [False, True, False]
    assert [isinstance(Listener(), group) for group in GROUPS] == [False, False, False]
    assert issubclass(Module, ModelHooks)
    assert not issubclass(nn.Linear, DataHooks)


def test_only_what_derives_from_a_users_mixin_belongs_to_it() -> None:
    assert isinstance(Mixed(), ToldMixin)
    assert not isinstance(Module(), ToldMixin)


def test_a_mixin_before_the_module_hides_no_method_of_it() -> None:
    module = Mixed()
    module.on_fit_start()
    module.on_fit_end()
    assert module.told == ("base", "mixin", "end")


def test_hooks_that_a_group_stands_for_count_as_not_overridden() -> None:
    class Bare(ModelHooks, DataHooks, CheckpointHooks, LightningModule):
        pass

    names = [hook.name for hook in heard_by(Hearer.MODULE)]
    assert [name for name in names if overrides(Bare(), name)] == []


@pytest.mark.parametrize(
    ("instance", "name", "parent", "expected"),
    [
        (Module(), "training_step", None, True),
        (Module(), "on_fit_start", None, False),
        (Module(), "nonsense", None, False),
        (Mixed(), "on_fit_start", ModelHooks, True),
        (Data(), "setup", None, True),
        (Data(), "teardown", DataHooks, False),
        (Listener(), "on_fit_start", None, True),
        (Listener(), "on_fit_end", None, False),
        (Base(), "training_step", Module, False),
        (Module(), "training_step", LightningModule, True),
        (Module(), "on_fit_start", LightningModule, False),
        (None, "training_step", None, False),
    ],
)
def test_is_overridden_tells_own_methods_from_defaults(
    instance: object, name: str, parent: type | None, expected: bool
) -> None:
    assert is_overridden(name, instance, parent) is expected


def test_a_method_set_on_the_instance_counts() -> None:
    module = Module()
    module.on_fit_start = lambda: None  # type: ignore[method-assign]
    assert is_overridden("on_fit_start", module)


def test_a_base_class_that_isnt_clear_or_lacks_the_method_is_named() -> None:
    with pytest.raises(ValueError, match=r"`parent` is needed.*object overrides `__init__`"):
        is_overridden("__init__", object())
    with pytest.raises(ValueError, match="`parent`, Linear, has no `training_step`"):
        is_overridden("training_step", Module(), nn.Linear)


def test_the_package_doesnt_load_them() -> None:
    program = "import lt_core, sys; sys.exit('lt_core.hook_groups' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
