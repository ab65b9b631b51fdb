"""From the Trainer's arguments to its specs: defaults, environment variables, misspelt names, checks."""

import os
from ast import literal_eval
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from inspect import Parameter, Signature, signature
from typing import Any, Final

from lt_core.specs.barebones import BAREBONES_ARGUMENTS, refuse_barebones_conflicts
from lt_core.specs.callback_roles import refuse_role_conflicts, resolve_callbacks
from lt_core.specs.evaluation import EvaluationSpec, resolve_evaluation
from lt_core.specs.limits import LimitsSpec, resolve_limits
from lt_core.specs.logging_spec import LoggingSpec, resolve_logging
from lt_core.specs.optimization import OptimizationSpec, resolve_optimization
from lt_core.specs.saving import SavingSpec, resolve_saving
from lt_fabric.argument_checks import check_bool
from lt_fabric.hardware import HardwareSpec, resolve_hardware
from lt_interfaces.callback import Callback
from lt_interfaces.spelling import did_you_mean

_RESOLVERS: Final[tuple[Callable[..., object], ...]] = (
    resolve_hardware,
    resolve_logging,
    resolve_saving,
    resolve_limits,
    resolve_evaluation,
    resolve_optimization,
)
_OWN_DEFAULTS: Final = {"callbacks": None, "barebones": False, "suggest_integrations": True, "compile": False}

ARGUMENT_DEFAULTS: Final[Mapping[str, Any]] = {
    **{name: part.default for resolver in _RESOLVERS for name, part in signature(resolver).parameters.items()},
    **_OWN_DEFAULTS,
}
"""Every argument of the Trainer with its default, by name."""


@dataclass(frozen=True)
class TrainerSpecs:
    """What the Trainer was asked to do, checked and settled; nothing changes it afterwards."""

    hardware: HardwareSpec
    logging: LoggingSpec
    saving: SavingSpec
    limits: LimitsSpec
    evaluation: EvaluationSpec
    optimization: OptimizationSpec
    callbacks: tuple[Callback, ...]
    """As the user gave them; defaults are added by the Trainer."""

    barebones: bool
    compilation: Mapping[str, Any] | None
    """The arguments for `torch.compile`, which the module's steps go through; ``None``: they run as they are."""


def trainer_specs(**arguments: Any) -> TrainerSpecs:
    """Check the Trainer's arguments and settle what they mean together; what's left out has its default.

    The Trainer calls it once, when it's made. ``suggest_integrations`` is accepted and has no effect: nothing is
    ever advertised.

    Raises:
        TypeError: for a wrong type, and for an argument that doesn't exist.
        MisconfigurationException: for a wrong value; it is a `ValueError`.
        ValueError: for arguments that ``barebones`` excludes.

    >>> trainer_specs(fast_dev_run=True).evaluation.num_sanity_val_steps
    0
    """
    if not arguments.keys() <= ARGUMENT_DEFAULTS.keys():
        raise unknown_argument_error(arguments, ARGUMENT_DEFAULTS)
    given = {**ARGUMENT_DEFAULTS, **arguments}
    check_bool("suggest_integrations", given["suggest_integrations"])
    barebones = check_bool("barebones", given["barebones"])
    if barebones:
        refuse_barebones_conflicts(given)
        given.update(BAREBONES_ARGUMENTS)
    limits: LimitsSpec = _resolve(resolve_limits, given)
    evaluation: EvaluationSpec = _resolve(resolve_evaluation, given)
    specs = TrainerSpecs(
        hardware=_resolve(resolve_hardware, given),
        logging=_resolve(resolve_logging, given),
        saving=_resolve(resolve_saving, given),
        limits=limits,
        evaluation=_fast(evaluation) if limits.fast_dev_run else evaluation,
        optimization=_resolve(resolve_optimization, given),
        callbacks=resolve_callbacks(given["callbacks"]),
        barebones=barebones,
        compilation=_compilation(given["compile"]),
    )
    refuse_role_conflicts(
        specs.callbacks,
        enable_checkpointing=specs.saving.enable_checkpointing,
        enable_progress_bar=specs.logging.enable_progress_bar,
    )
    return specs


def unknown_argument_error(given: Iterable[str], accepted: Iterable[str]) -> TypeError:
    """Build the error for arguments that don't exist, with what each may have meant; the caller raises it.

    >>> print(unknown_argument_error(["max_epoch"], ["max_epochs", "max_steps"]))
    Unknown argument `max_epoch`. Did you mean `max_epochs`?
    """
    accepted = list(accepted)
    unknown = [name for name in given if name not in accepted]
    return TypeError(" ".join(f"Unknown argument `{name}`.{did_you_mean(name, accepted)}" for name in unknown))


def environment_defaults(
    cls_name: str,
    constructor: Signature,
    *,
    environment: Mapping[str, str] = os.environ,
) -> dict[str, Any]:
    """Read defaults for arguments from variables named ``PL_<CLASS>_<ARGUMENT>``; what a caller passes goes first.

    A value is read as a Python literal, or taken as a string where it isn't one; empty variables are ignored.

    Args:
        cls_name: name of the class that is made, e.g. ``"Trainer"``.
        constructor: its constructor's signature.
        environment: the variables.

    >>> def make(max_epochs=None, precision=None): ...
    >>> environment_defaults("Trainer", signature(make), environment={"PL_TRAINER_MAX_EPOCHS": "3"})
    {'max_epochs': 3}
    """
    named = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    names = [name for name, part in constructor.parameters.items() if part.kind in named and name != "self"]
    texts = {name: environment.get(f"PL_{cls_name}_{name}".upper()) for name in names}
    return {name: _read_literal(text) for name, text in texts.items() if text}


def _read_literal(text: str) -> Any:
    try:
        return literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def _resolve(resolver: Callable[..., Any], given: Mapping[str, Any]) -> Any:
    return resolver(**{name: given[name] for name in signature(resolver).parameters})


def _compilation(given: object) -> Mapping[str, Any] | None:
    if given is False:
        return None
    # Loaded where something is compiled alone: `import lt_core` keeps within its budget of modules.
    from lt_core.specs.compilation import resolve_compilation

    return resolve_compilation(given)


def _fast(evaluation: EvaluationSpec) -> EvaluationSpec:
    return replace(evaluation, val_check_interval=1.0, check_val_every_n_epoch=1, num_sanity_val_steps=0)
