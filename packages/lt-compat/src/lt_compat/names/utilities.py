"""The utilities of Lightning's Trainer side."""

from typing import Final

from lt_compat.names.entries import Names, missing, owned

_RANK_ZERO = owned(
    "lt_interfaces.rank_zero", "rank_zero_deprecation", "rank_zero_info", "rank_zero_only", "rank_zero_warn"
)
_MORE_RANK_ZERO = owned("lt_interfaces.rank_zero", "WarningCache", "rank_prefixed_message", "rank_zero_debug")
_ATTRIBUTES = owned("lt_interfaces.hyperparameters", "AttributeDict")
_COMBINED = owned("lt_fabric.data", "CombinedLoader")
_CLIPPING = owned("lt_interfaces.clipping", "GradClipAlgorithmType")
_ERRORS = owned("lt_interfaces.errors", "MisconfigurationException", "SIGTERMException")
_GRADS = owned("lt_core", "grad_norm")
_MOVING = owned("lt_interfaces.moving", "move_data_to_device")
_TYPES = owned(
    "lt_core.types",
    "EVAL_DATALOADERS",
    "LRSchedulerConfig",
    "LRSchedulerConfigType",
    "LRSchedulerPLType",
    "LRSchedulerType",
    "LRSchedulerTypeTuple",
    "LRSchedulerTypeUnion",
    "OptimizerConfig",
    "OptimizerLRScheduler",
    "OptimizerLRSchedulerConfig",
    "STEP_OUTPUT",
    "TRAIN_DATALOADERS",
    _EVALUATE_OUTPUT="EVALUATE_OUTPUT",
    _METRIC="METRIC",
    _NUMBER="NUMBER",
    _PREDICT_OUTPUT="PREDICT_OUTPUT",
) | owned("torch.nn.parallel", "DistributedDataParallel")

MODULES: Final[dict[str, Names]] = {
    "pytorch.utilities": _RANK_ZERO | _ATTRIBUTES | _COMBINED | _CLIPPING | _GRADS | _MOVING,
    "pytorch.utilities.combined_loader": _COMBINED,
    "pytorch.utilities.enums": _CLIPPING,
    "pytorch.utilities.exceptions": _ERRORS,
    "pytorch.utilities.grads": _GRADS,
    "pytorch.utilities.model_helpers": owned("lt_core.hook_groups", "is_overridden")
    | missing("`torchvision.models.get_model` makes a model by its name.", "get_torchvision_model"),
    "pytorch.utilities.parsing": _ATTRIBUTES,
    "pytorch.utilities.rank_zero": _RANK_ZERO | _MORE_RANK_ZERO,
    "pytorch.utilities.seed": owned("lt_interfaces.rng", "isolate_rng", "seed_everything", "reset_seed"),
    "pytorch.utilities.types": _TYPES,
    "pytorch.utilities.warnings": owned("lt_interfaces.errors", "PossibleUserWarning"),
}
