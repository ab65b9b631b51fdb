"""Conformance suites of the structural contracts: what counts are the members that an object has."""

from collections.abc import Iterator
from inspect import Parameter, isfunction, signature
from typing import Any, ClassVar

import pytest

from lt_interfaces.roles import (
    CheckpointRole,
    ProgressRole,
    Role,
    StopRole,
    SummaryRole,
    TimerRole,
    TunerRole,
)
from lt_interfaces.step_module import StepModule
from lt_interfaces.trainer_view import RunControl, TrainerView

ROLES = {
    Role.CHECKPOINT: CheckpointRole,
    Role.PROGRESS: ProgressRole,
    Role.STOP: StopRole,
    Role.SUMMARY: SummaryRole,
    Role.TUNER: TunerRole,
    Role.TIMER: TimerRole,
}
"""What a callback with a role must offer."""


class ProtocolContract:
    """The promises of a structural contract: everything it names is there, and methods take what it says."""

    contract: ClassVar[type]

    @pytest.fixture
    def part(self) -> Any:
        """Return the object; override it."""
        raise NotImplementedError

    def contract_of(self, part: Any) -> type:
        """Return the contract that the object is held to."""
        return self.contract

    def test_everything_the_contract_names_can_be_read(self, part: Any) -> None:
        for name in _members(self.contract_of(part)):
            getattr(part, name)

    def test_methods_take_what_the_contract_says(self, part: Any) -> None:
        contract = self.contract_of(part)
        for name, member in _members(contract).items():
            if isfunction(member):
                missing = [argument for argument in _arguments(member) if not _takes(getattr(part, name), argument)]
                assert missing == [], f"{type(part).__name__}.{name} doesn't take {missing}"


class StepModuleContract(ProtocolContract):
    """The promises of a module with steps."""

    contract = StepModule


class TrainerViewContract(ProtocolContract):
    """The promises of what callbacks and loggers see of a run."""

    contract = TrainerView


class RunControlContract(ProtocolContract):
    """The promises of what callbacks may ask of a run."""

    contract = RunControl


class RoleContract(ProtocolContract):
    """The promises of a callback that has a role."""

    def contract_of(self, part: Any) -> type:
        """Return the contract of the callback's role."""
        return ROLES[part.role]


def _members(contract: type) -> dict[str, Any]:
    annotated = dict.fromkeys(getattr(contract, "__annotations__", {}))
    return {name: member for name, member in {**annotated, **vars(contract)}.items() if not name.startswith("_")}


def _arguments(method: Any) -> Iterator[str]:
    variadic = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    named = (one.name for one in signature(method).parameters.values() if one.kind not in variadic)
    return (name for name in named if name != "self")


def _takes(method: Any, argument: str) -> bool:
    parameters = signature(method).parameters
    return argument in parameters or any(one.kind is Parameter.VAR_KEYWORD for one in parameters.values())
