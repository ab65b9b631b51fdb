"""The front door of Lightning's Trainer side, modules, data modules and the Trainer itself."""

from typing import Final

from lt_compat.names.entries import Names, missing, owned

_FRONT = owned("lt_core", "LightningModule", "Trainer") | owned("lt_datamodules", "LightningDataModule")
_HOOKS = owned("lt_core.hook_groups", "CheckpointHooks", "DataHooks", "ModelHooks")
_HPARAMS = owned("lt_interfaces.hyperparameters", "HyperparametersMixin")
_SEED = owned("lt_fabric", "seed_everything")
_STATES = owned("lt_interfaces.states", "RunningStage", "TrainerFn", "TrainerState", "TrainerStatus")
_CALLBACK = owned("lt_callbacks", "Callback")
_QUIET = owned("lt_interfaces.errors", "disable_possible_user_warnings")

MODULES: Final[dict[str, Names]] = {
    "": _FRONT | _CALLBACK | owned("lt_fabric", "Fabric") | _SEED | _QUIET,
    "pytorch": _FRONT
    | _CALLBACK
    | _SEED
    | _QUIET
    | owned("lightning_utilities.core.imports", "module_available")
    | missing("lt prints no logo, neither here nor in `LightningCLI`.", "cli_lightning_logo"),
    "pytorch.core": owned("lt_core", "LightningModule", "LightningOptimizer")
    | owned("lt_datamodules", "LightningDataModule"),
    "pytorch.core.datamodule": owned("lt_datamodules", "LightningDataModule"),
    "pytorch.core.hooks": _HOOKS,
    "pytorch.core.mixins": _HPARAMS,
    "pytorch.core.mixins.hparams_mixin": _HPARAMS,
    "pytorch.core.module": owned("lt_core", "LightningModule"),
    "pytorch.core.optimizer": owned("lt_core", "LightningOptimizer")
    | missing("Write `lambda: None`.", "do_nothing_closure"),
    "pytorch.core.saving": owned(
        "lt_loggers.hparams_files",
        "load_hparams_from_tags_csv",
        "load_hparams_from_yaml",
        "save_hparams_to_tags_csv",
        "save_hparams_to_yaml",
    )
    | owned("lt_checkpoint_io.stores", "get_filesystem")
    | missing("Read literals by `ast.literal_eval`, and merge dicts by `|`.", "update_hparams", "convert"),
    "pytorch.trainer": owned("lt_core", "Trainer") | _SEED,
    "pytorch.trainer.states": _STATES,
    "pytorch.trainer.trainer": owned("lt_core", "Trainer"),
}
