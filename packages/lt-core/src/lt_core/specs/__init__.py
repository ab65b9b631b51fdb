"""What the Trainer's arguments mean, one frozen spec per concern, each checked when the Trainer is made."""

from lt_core.specs.arguments import (
    ARGUMENT_DEFAULTS,
    TrainerSpecs,
    environment_defaults,
    trainer_specs,
    unknown_argument_error,
)
from lt_core.specs.callback_roles import refuse_role_conflicts
from lt_core.specs.evaluation import EvaluationSpec
from lt_core.specs.limits import LimitsSpec, resolve_epochs
from lt_core.specs.logging_spec import LoggingSpec
from lt_core.specs.optimization import OptimizationSpec
from lt_core.specs.saving import SavingSpec
from lt_core.specs.validation_schedule import ValidationSchedule, plan_validation

__all__ = [
    "ARGUMENT_DEFAULTS",
    "EvaluationSpec",
    "LimitsSpec",
    "LoggingSpec",
    "OptimizationSpec",
    "SavingSpec",
    "TrainerSpecs",
    "ValidationSchedule",
    "environment_defaults",
    "plan_validation",
    "refuse_role_conflicts",
    "resolve_epochs",
    "trainer_specs",
    "unknown_argument_error",
]
