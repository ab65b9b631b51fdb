from typing import Any

import pytest

from lt_core import Trainer
from lt_core.constructor import with_environment_defaults


class Machine:
    @with_environment_defaults
    def __init__(self, *, speed: Any = 1, name: Any = None, parts: Any = ()) -> None:
        """Build it."""
        self.given = (speed, name, parts)


class Special(Machine):
    pass


def test_defaults_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_MACHINE_SPEED", "3")
    monkeypatch.setenv("PL_MACHINE_NAME", "fast one")
    monkeypatch.setenv("PL_MACHINE_PARTS", "[1, 'two']")
    assert Machine().given == (3, "fast one", [1, "two"])


def test_what_is_passed_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_MACHINE_SPEED", "3")
    assert Machine(speed=5).given[0] == 5
    assert Machine(speed=None).given[0] is None


def test_a_subclass_has_variables_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_MACHINE_SPEED", "3")
    assert Special().given[0] == 1
    monkeypatch.setenv("PL_SPECIAL_SPEED", "4")
    assert Special().given[0] == 4


def test_arguments_may_be_given_by_position() -> None:
    machine: Any = Machine
    assert machine(2, "name").given == (2, "name", ())
    with pytest.raises(TypeError, match=r"\['speed'\] by name too"):
        machine(2, speed=3)
    with pytest.raises(TypeError, match="4 arguments by position"):
        machine(1, 2, 3, 4)


def test_misspelt_arguments_are_refused_with_the_right_name() -> None:
    machine: Any = Machine
    with pytest.raises(TypeError, match=r"`spede`\. Did you mean `speed`\?"):
        machine(spede=1)


def test_signature_and_docstring_are_those_of_the_constructor() -> None:
    assert Machine.__init__.__doc__ == "Build it."


def test_the_trainer_reads_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_TRAINER_MAX_EPOCHS", "7")
    monkeypatch.setenv("PL_TRAINER_LIMIT_VAL_BATCHES", "0.5")
    monkeypatch.setenv("PL_TRAINER_ACCELERATOR", "cpu")
    monkeypatch.setenv("PL_TRAINER_LOGGER", "False")
    trainer = Trainer(max_steps=3)
    assert (trainer.max_epochs, trainer.max_steps, trainer.limit_val_batches) == (7, 3, 0.5)
    assert trainer.loggers == []
    assert Trainer(max_epochs=2).max_epochs == 2


def test_wrong_values_of_variables_are_refused_as_arguments_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_TRAINER_MAX_EPOCHS", "-3")
    with pytest.raises(ValueError, match="`max_epochs`"):
        Trainer()


def test_a_kind_of_trainer_has_variables_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class Patient(Trainer):
        pass

    monkeypatch.setenv("PL_TRAINER_MAX_EPOCHS", "7")
    monkeypatch.setenv("PL_PATIENT_MAX_EPOCHS", "8")
    assert Patient(logger=False, enable_checkpointing=False).max_epochs == 8
